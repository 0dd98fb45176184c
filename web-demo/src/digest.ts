/** SHA-256 of bytes, as hexadecimal digits. */
export async function digest(bytes: Uint8Array<ArrayBuffer>): Promise<string> {
  const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  return Array.from(hash, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** A digest as people compare them: its begin and its end. */
export function short(hex: string): string {
  return `${hex.slice(0, 8)}…${hex.slice(-8)}`;
}
