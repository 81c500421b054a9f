// What Gradio's page lacks for those who have no mouse: choices that the arrow keys change, and a focus that is not lost.
(() => {
  // Gradio gives every radio button a name of its own, so that none knows its neighbours and Tab stops at each.
  const joinChoices = () => {
    for (const choice of document.querySelectorAll('fieldset:has(input[type="radio"]):not([role="radiogroup"])')) {
      choice.setAttribute('role', 'radiogroup');
      choice.setAttribute('aria-label', choice.querySelector('[data-testid="block-info"]')?.textContent.trim() || '');
    }
    for (const radio of document.querySelectorAll('fieldset[id] input[type="radio"]')) radio.name = radio.closest('fieldset').id;
  };
  document.addEventListener('focusin', joinChoices);

  // A button that was pressed by key may go, or be drawn anew with its reply, and the focus with it: then its likeness
  // has the focus, or else the message.
  let pressed = null;
  const keepFocus = () => {
    const [button, focused] = [pressed, document.activeElement];
    const isThere = button?.isConnected && button.checkVisibility();
    if (isThere && focused === button) return void requestAnimationFrame(keepFocus);
    pressed = null;
    if (!button || isThere || ![button, document.body, null].includes(focused)) return;
    const { deed, turn } = button.dataset;
    const likeness = deed && document.querySelector(`#chat button[data-deed="${deed}"][data-turn="${turn}"]`);
    (likeness || document.querySelector('#message textarea'))?.focus();
  };
  document.addEventListener('click', ({ target, detail }) => {
    const button = target.closest?.('button');
    const isWatched = pressed !== null;
    pressed = detail === 0 && button === document.activeElement ? button : null; // detail 0: no mouse, no finger
    if (pressed && !isWatched) requestAnimationFrame(keepFocus);
  }, true);
})();
