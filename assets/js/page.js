// What the page does by itself: keeps the tab's secret, opens and closes the side panel. Knows no conversation.
window.omniPage = (() => {
  const KEY = 'omni-secret';
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
  // The button is drawn later than the page begins.
  const tellPanel = () => showPanel(panelIsOpen());

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
    document.documentElement.lang = navigator.language || 'en';
    showPanel(!isNarrow());
  };
  if (document.readyState === 'loading') document.addEventListener('DOMContentLoaded', begin);
  else begin();
  return { secret, keepSecret, visitor, togglePanel, tellPanel, showPanel };
})();
