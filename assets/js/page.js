// What the page does by itself: keeps the tab's secret, opens and closes the side panel, follows the end of what is
// said, takes a double click for one. Knows no conversation.
window.omniPage = (() => {
  const KEY = 'omni-secret';
  // That the page speaks; to all others English.
  const TONGUES = ['en', 'ru', 'zh'];
  const panelIsOpen = () => document.body.classList.contains('panel-open');

  // sessionStorage is the tab's own: two tabs are two conversations, a reload finds the old one.
  const secret = () => {
    try { return sessionStorage.getItem(KEY) || ''; } catch { return ''; }
  };
  const keepSecret = (value) => {
    try { if (value) sessionStorage.setItem(KEY, value); } catch { /* private mode: the conversation ends with the page */ }
  };

  // localStorage is the browser's: the list of conversations is that of all its tabs.
  const visitor = () => {
    try {
      let value = localStorage.getItem('omni-visitor');
      if (!value) {
        value = Array.from(crypto.getRandomValues(new Uint8Array(32)), (byte) => byte.toString(16).padStart(2, '0')).join('');
        localStorage.setItem('omni-visitor', value);
      }
      return value;
    } catch { return ''; }
  };

  const showPanel = (open) => {
    document.body.classList.toggle('panel-open', open);
    const button = document.querySelector('#panel-button');
    if (button) {
      button.setAttribute('aria-expanded', String(open));
      button.setAttribute('aria-controls', 'panel');
    }
  };
  const togglePanel = () => showPanel(!panelIsOpen());

  // Who reads the end goes on seeing it when what stands below grows, and who sends sees what was sent.
  let isAtEnd = true;
  let top = 0;
  const said = () => document.querySelector('#chat .bubble-wrap');
  const toEnd = () => {
    isAtEnd = true;
    if (said()) said().scrollTop = said().scrollHeight;
  };
  document.addEventListener('scroll', ({ target }) => {
    if (target !== said()) return;
    // Down the list goes by itself too, and smoothly: only who goes up leaves the end.
    if (target.scrollHeight - target.clientHeight - target.scrollTop < 40) isAtEnd = true;
    else if (target.scrollTop < top) isAtEnd = false;
    top = target.scrollTop;
  }, true);

  // What is drawn later than the page begins.
  const meet = () => {
    showPanel(panelIsOpen());
    const chat = document.querySelector('#chat');
    const grown = new ResizeObserver(() => { if (isAtEnd) toEnd(); });
    grown.observe(chat);
    // What is said has an element of its own, which comes with the first message and goes with the last.
    new MutationObserver(() => { if (said()?.firstElementChild) grown.observe(said().firstElementChild); })
      .observe(chat, { childList: true, subtree: true });
    // On a phone the panel lies over what the page has to say, which often answers a button of the panel.
    const notice = document.querySelector('#notice');
    let told = '';
    new MutationObserver(() => {
      const before = told;
      told = notice.querySelector('p[role]')?.textContent || '';
      if (told && told !== before && isNarrow()) showPanel(false);
    }).observe(notice, { childList: true, subtree: true });
  };

  // The second click of a double click, or Enter pressed twice, is no second message: nothing was typed in between.
  const TWICE_MS = 500;
  let sentAt = -Infinity;
  document.addEventListener('input', ({ target }) => { if (target.closest('#message')) sentAt = -Infinity; }, true);
  const isTwice = ({ timeStamp }) => {
    const twice = timeStamp - sentAt < TWICE_MS;
    if (!twice) sentAt = timeStamp;
    return twice;
  };
  const once = (event) => {
    if (!event.repeat && !isTwice(event)) return;
    event.stopImmediatePropagation();
    event.preventDefault();
  };
  document.addEventListener('click', (event) => { if (event.target.closest('#send')) once(event); }, true);
  document.addEventListener('keydown', (event) => {
    if (event.key === 'Enter' && !event.shiftKey && !event.isComposing && event.target.closest('#message')) once(event);
  }, true);

  const isNarrow = () => window.matchMedia('(max-width: 900px)').matches;
  document.addEventListener('keydown', (event) => {
    if (event.key === 'Escape' && isNarrow() && panelIsOpen()) {
      showPanel(false);
      document.querySelector('#panel-button')?.focus();
    }
  });
  // On a phone the panel lies over the conversation: a tap beside it closes it.
  document.addEventListener('click', (event) => {
    if (!isNarrow() || !panelIsOpen()) return;
    if (!event.target.closest('#panel, #panel-button')) showPanel(false);
  });

  const begin = () => {
    const tongue = navigator.language || 'en';
    document.documentElement.lang = TONGUES.includes(tongue.split('-')[0]) ? tongue : 'en';
    showPanel(!isNarrow());
  };
  if (document.readyState === 'loading') document.addEventListener('DOMContentLoaded', begin);
  else begin();
  return { secret, keepSecret, visitor, togglePanel, showPanel, meet, toEnd };
})();
