/* Asks for an API key. */
import { byId, setText } from "./dom.js";

/** Answers the key; undefined if none is given. `why`: what was wrong with the last one. */
export function askForKey(why) {
  const dialog = byId("key-dialog");
  const input = byId("key");
  setText(byId("key-fault"), why === undefined ? "" : `That key was refused: ${why}`);
  input.value = "";
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => {
    const closed = () => {
      const key = dialog.returnValue === "ok" ? input.value.trim() : "";
      input.value = "";
      resolve(key === "" ? undefined : key);
    };
    dialog.addEventListener("close", closed, { once: true });
  });
}
