/*
 * All requests of this page. The API key, if one is needed, is stored until this tab is closed and sent in a header:
 * never in an address, which would end up in logs and in the browser's history.
 */
import { byId, setText } from "./dom.js";

const STORAGE_KEY = "hourglass.key";
const OVERLOADED_ATTEMPTS = 4;

export class ApiError extends Error {
  constructor(status, code, message) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

export class Api {
  #asking;
  #isDeclined = false;
  #key = storedKey();

  askAgain() {
    this.#isDeclined = false;
  }

  /** Resolves to a successful answer. Throws ApiError. */
  async get(path, parameters = {}, { signal, accept = "application/json" } = {}) {
    for (;;) {
      const key = this.#key;
      const headers = key === undefined ? { accept } : { accept, authorization: `Bearer ${key}` };
      const answer = await reached(fetch(addressOf(path, parameters), { headers, signal }));
      if (answer.ok) return answer;
      const error = await errorOf(answer);
      if (answer.status !== 401 && answer.status !== 403) throw error;
      // Only the list of all streams requires a key for all; the rest of the page works with a limited key.
      if (error.code === "stream_not_allowed" && path === "streams") throw error;
      // Another request may have obtained a new key meanwhile.
      if (key === this.#key && !(await this.#newKey(key === undefined ? undefined : error.message))) throw error;
      signal?.throwIfAborted();
    }
  }

  /** Retries after a pause while the service is overloaded. */
  async json(path, parameters, signal) {
    for (let attempt = 1; ; attempt++) {
      try {
        const answer = await this.get(path, parameters, { signal });
        return { body: await answer.json(), isDegraded: answer.headers.has("hourglass-degraded") };
      } catch (error) {
        if (error.code !== "overloaded" || attempt === OVERLOADED_ATTEMPTS) throw error;
        await pause(attempt * 1_000 * (0.5 + Math.random()), signal);
      }
    }
  }

  /** False if the user gives none. The dialog does not reopen by itself. */
  async #newKey(why) {
    if (this.#isDeclined) return false;
    this.#asking ??= askForKey(why).finally(() => {
      this.#asking = undefined;
    });
    const key = await this.#asking;
    this.#isDeclined = key === undefined;
    if (this.#isDeclined) return false;
    this.#key = key;
    try {
      sessionStorage.setItem(STORAGE_KEY, key);
    } catch {
      // Without storage, the dialog opens again on the next load.
    }
    return true;
  }
}

/** Resolves to the key; undefined if the dialog is cancelled. `why`: the error of the previous key. */
function askForKey(why) {
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

function storedKey() {
  try {
    return sessionStorage.getItem(STORAGE_KEY) ?? undefined;
  } catch {
    return undefined;
  }
}

export function addressOf(path, parameters) {
  const query = new URLSearchParams(parameters).toString();
  return query === "" ? path : `${path}?${query}`;
}

async function reached(answering) {
  try {
    return await answering;
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError(0, "unreachable", "The service does not answer.");
  }
}

async function errorOf(answer) {
  const { error } = await answer.json().catch(() => ({}));
  const { code = "unknown", message = `The service answered with ${answer.status}.` } = error ?? {};
  return new ApiError(answer.status, code, message);
}

export function pause(ms, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, ms);
    signal?.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(signal.reason);
    });
  });
}
