/** From an empty browser to a first result with Quaver. */
import { openQuaver } from "../src/contest/quaver.js";
import { measure } from "./measure.js";

measure((model) => openQuaver({ engine: "quaver", model, threads: 1 }));
