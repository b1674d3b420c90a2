// A picture in the clipboard goes into the field of the first tab, wherever the cursor is.
document.addEventListener('paste', (event) => {
  const files = event.clipboardData ? event.clipboardData.files : [];
  const field = document.querySelector('#poster input[type=file]');
  if (!files.length || !field || !document.querySelector('#poster').offsetParent) return;
  const carried = new DataTransfer();
  carried.items.add(files[0]);
  field.files = carried.files;
  field.dispatchEvent(new Event('change', {bubbles: true}));
});
// The table's filter field has a title only, which is not a label to a screen reader.
new MutationObserver(() => {
  document.querySelectorAll('input[title]:not([aria-label])').forEach((input) => { input.ariaLabel = input.title; });
}).observe(document, {childList: true, subtree: true});
