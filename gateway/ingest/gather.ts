// Keeps what has come of something that is not all there, so that it takes the room of its bytes: a client may send each byte
// by itself, and a piece costs a hundred bytes of its own. Knows nothing of what is gathered.

/** Pieces from here on are worth their own cost. */
const PIECE_BYTES = 4_096;

/** Adds `piece` to `kept`. Small pieces become one as they double, so that a byte is copied a few times at most. */
export function gather(kept: Buffer[], piece: Buffer): void {
  let last = piece;
  for (let before = kept.at(-1); before !== undefined; before = kept.at(-1)) {
    if (last.length >= PIECE_BYTES || before.length > last.length) break;
    kept.pop();
    last = Buffer.concat([before, last]);
  }
  kept.push(last);
}

/** In how many pieces something of so many bytes may come, where others gather it. */
export const piecesMax = (bytes: number): number => 1_024 + Math.ceil(bytes / 256);
