// The poster under its map: its opacity, and a box that is drawn or set by its edges, as shares of the poster.
const EDGES = ['left', 'top', 'right', 'bottom'];
const find = (selector) => element.querySelector(selector);
const edge = (name) => find(`input[name=${name}]`);
const box = () => EDGES.map((name) => Number(edge(name).value) / 100);
let start = null;

function show() {
  const [left, top, right, bottom] = box();
  const style = find('.pm-box').style;
  [style.left, style.top] = [`${100 * left}%`, `${100 * top}%`];
  [style.width, style.height] = [`${100 * (right - left)}%`, `${100 * (bottom - top)}%`];
}

function place(event) {
  const area = find('.pm-stack').getBoundingClientRect();
  const share = (value, from, size) => Math.min(100, Math.max(0, Math.round(100 * (value - from) / size)));
  return [share(event.clientX, area.left, area.width), share(event.clientY, area.top, area.height)];
}

element.addEventListener('input', (event) => {
  if (event.target.name === 'opacity') find('.pm-over').style.opacity = event.target.value / 100;
  else show();
});
element.addEventListener('toggle', () => show(), true);
element.addEventListener('pointerdown', (event) => {
  if (!event.target.closest('.pm-stack') || !find('details').open) return;
  event.preventDefault();
  start = place(event);
  event.target.setPointerCapture(event.pointerId);
});
element.addEventListener('pointermove', (event) => {
  if (!start) return;
  const [x, y] = place(event);
  const edges = [Math.min(x, start[0]), Math.min(y, start[1]), Math.max(x, start[0]), Math.max(y, start[1])];
  EDGES.forEach((name, number) => { edge(name).value = edges[number]; });
  show();
});
element.addEventListener('pointerup', () => {
  if (!start) return;
  start = null;
  trigger('hide', {box: box()});
});
element.addEventListener('pointercancel', () => { start = null; });
element.addEventListener('click', (event) => {
  if (event.target.closest('button')) trigger('hide', {box: box()});
});
watch('value', () => {
  const answer = document.querySelector('.pm-answer');  // below the fields on a phone
  if (innerWidth < 700 && answer) answer.scrollIntoView({behavior: 'smooth'});
});
