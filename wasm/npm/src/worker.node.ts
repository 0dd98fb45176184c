/** The script of a session's worker, in Node. */
import { parentPort } from "node:worker_threads";
import { server } from "./runner.js";

const serve = server((message, transfer) => parentPort?.postMessage(message, transfer));
parentPort?.on("message", (data) => void serve(data));
