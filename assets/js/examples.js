// Tells which example was clicked. Runs as js_on_load of the list's component (element, trigger are Gradio's).
element.addEventListener('click', (event) => {
  const button = event.target.closest('button[data-example]');
  if (!button) return;
  trigger('choose', { key: button.dataset.example });
  // On a phone the list may lie over the message, and a focus would bring the keyboard up.
  if (window.matchMedia('(max-width: 900px)').matches) window.omniPage.showPanel(false);
  if (!window.matchMedia('(pointer: coarse)').matches) document.querySelector('#message textarea')?.focus();
});
