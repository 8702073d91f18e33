// Texts in the visitor's language, which the page carries.

const entries = JSON.parse(document.getElementById("texts").textContent);

/** Return a text with its values filled in. */
export function t(key, values = {}) {
  return entries[key].replace(/\{(\w+)\}/g, (_, name) => String(values[name]));
}

/** Return what a type of error means, in words for anyone. */
export function errorText(name) {
  return entries[`error.${name}`] ?? t("error.other");
}

/** Format a probability; never as certain. */
export function probabilityText(value) {
  return value < 0.005 ? "< 0.01" : value >= 0.995 ? "> 0.99" : value.toFixed(2);
}

/** Say something to those who do not see the page. */
export function announce(text) {
  const place = document.getElementById("announcer");
  if (place) place.textContent = text;
}
