"use strict";

// The page's words, and small things that all parts use

// RFC 6455 section 7.4.1, and its registry at IANA.
const CLOSE_CODES = {
  1000: "normal closure",
  1001: "going away",
  1002: "protocol error",
  1003: "unsupported data",
  1005: "no status received",
  1006: "abnormal closure",
  1007: "invalid payload",
  1008: "policy violation",
  1009: "message too big",
  1010: "mandatory extension",
  1011: "internal error",
  1012: "service restart",
  1013: "try again later",
  1014: "bad gateway",
  1015: "TLS handshake",
  3000: "unauthorized",
  3003: "forbidden",
  3008: "timeout",
};
// The status in each state, and what the button then does.
const STATES = {
  disconnected: ["Disconnected", "Connect"],
  connecting: ["Connecting…", "Cancel"],
  connected: ["Connected", "Disconnect"],
  closing: ["Closing…", "Give up"],
  waiting: ["Reconnecting", "Stop"],
};

// A mistake of the user, told in the page's own words: those of browsers differ, and are for developers.
class Problem extends Error {}

const encoder = new TextEncoder();
const at = (id) => document.getElementById(id);
const number = (value) => value.toLocaleString("en");
const plural = (count, word) => `${number(count)} ${word}${count === 1 ? "" : "s"}`;
const hex = (value, length = 2) => value.toString(16).padStart(length, "0");
const spacedHex = (bytes) => Array.from(bytes, (byte) => hex(byte)).join(" ");

function codeInWords(code, reason) {
  const range = code >= 4000 ? "private use" : code >= 3000 ? "of a library" : "unknown";
  return `${code} ${CLOSE_CODES[code] ?? range}` + (reason ? `, “${reason}”` : "");
}

function timeOfDay(time) {
  const digits = (value, length = 2) => String(value).padStart(length, "0");
  return [time.getHours(), time.getMinutes(), time.getSeconds()].map((value) => digits(value)).join(":") +
    "." + digits(time.getMilliseconds(), 3);
}
