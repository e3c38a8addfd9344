// Three points on a picture: drag one, click its next place, or move the focused one with the arrow keys.
let next = 0, held = null;
const clamp = (value, most) => Math.min(most, Math.max(0, value));
const frame = () => element.querySelector(".points");
const at = (event) => {
  const box = frame().getBoundingClientRect();
  return [clamp((event.clientX - box.left) / box.width, 1) * props.value.width,
          clamp((event.clientY - box.top) / box.height, 1) * props.value.height];
};
const show = (index, point) => {
  const button = element.querySelector(`[data-at="${index}"]`);
  button.style.left = `${100 * point[0] / props.value.width}%`;
  button.style.top = `${100 * point[1] / props.value.height}%`;
};
const put = (index, point, focused) => {
  const points = props.value.points.map((old, other) => other === index ? point : old);
  props.value = { ...props.value, points };
  next = (index + 1) % points.length;
  if (focused) requestAnimationFrame(() => element.querySelector(`[data-at="${index}"]`)?.focus());
  trigger("input");
};
element.addEventListener("pointerdown", (event) => {
  if (!frame()?.contains(event.target)) return;
  const button = event.target.closest("[data-at]");
  held = button ? Number(button.dataset.at) : next;
  if (!button) show(held, at(event));
  event.preventDefault();
  button?.focus();
  frame().setPointerCapture(event.pointerId);
});
element.addEventListener("pointermove", (event) => { if (held !== null) show(held, at(event)); });
element.addEventListener("pointerup", (event) => {
  if (held === null) return;
  const index = held;
  held = null;
  put(index, at(event), true);
});
element.addEventListener("pointercancel", () => { held = null; });
element.addEventListener("keydown", (event) => {
  const button = event.target.closest("[data-at]");
  const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
  if (!button || !step) return;
  event.preventDefault();
  const index = Number(button.dataset.at), { width, height, points } = props.value;
  const far = (event.shiftKey ? 0.05 : 0.01) * Math.min(width, height);
  put(index, [clamp(points[index][0] + far * step[0], width), clamp(points[index][1] + far * step[1], height)], true);
});
