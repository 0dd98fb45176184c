/** The script of a session's worker, and of the threads that help it, in Node. */
import { parentPort } from "node:worker_threads";
import { setHost } from "./host.js";
import { node } from "./host.node.js";
import { server } from "./runner.js";

setHost(node);

const serve = server((message, transfer) => parentPort?.postMessage(message, transfer));
parentPort?.on("message", (data) => void serve(data));
