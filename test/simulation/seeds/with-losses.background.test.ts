/** 12,000 seeds with all faults, losses of the hot store among them: about 5 ms of CPU each. */
import { FAULT_NAMES } from "../faults/kinds.ts";
import { testSeeds } from "./seed-tests.ts";

testSeeds("with losses of the hot store", 12_000, FAULT_NAMES);
