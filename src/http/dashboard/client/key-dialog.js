/* Asks for an API key. */
import { byId, setText } from "./dom.js";

/** Resolves to the key; undefined if the dialog is cancelled. `why`: the error of the previous key. */
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
