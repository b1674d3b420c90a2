element.addEventListener('click', (event) => {
  const button = event.target.closest('button');
  if (button) trigger('choose', {number: Number(button.dataset.number)});
});
