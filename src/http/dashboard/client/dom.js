/* Helpers that make and find elements. */
export const byId = (id) => document.getElementById(id);

/**
 * `properties`: of the element, or attributes if their name has a hyphen or is a known attribute (`role` and others).
 */
export function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined) continue;
    if (name.includes("-") || name === "role" || name === "scope" || name === "for") made.setAttribute(name, value);
    else made[name] = value;
  }
  made.append(...children.filter((child) => child !== undefined));
  return made;
}

/** Writes only if the text changes, to avoid a layout. */
export function setText(target, text) {
  if (target.textContent !== text) target.textContent = text;
}

/** The values that the page offers for a choice. */
export function choicesOf(id) {
  return Array.from(byId(id).querySelectorAll("input, option"), ({ value }) => value);
}

export function checkRadio(group, value) {
  for (const input of group.querySelectorAll("input")) input.checked = input.value === value;
}

export function onRadio(group, act) {
  group.addEventListener("change", ({ target }) => act(target.value));
}
