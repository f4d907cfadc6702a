// The file that marks a data directory as the demo plant's, so that simulated and real records never mix unseen.
export const DEMO_MARKER = 'DEMO';
