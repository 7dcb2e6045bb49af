/** 8,000 seeds in which no hot store loses what it has acknowledged: about 5 ms of CPU each. */
import { FAULT_NAMES, LOSSES } from "../faults/kinds.ts";
import { testSeeds } from "./seed-tests.ts";

const WITHOUT_LOSSES = FAULT_NAMES.filter((name) => !LOSSES.includes(name));

testSeeds("without losses of the hot store", 8_000, WITHOUT_LOSSES);
