// What one step of a verification came to: it holds, it is broken, or it could not be decided; with a sentence. Decides nothing.

export interface Outcome {
  readonly ok: boolean | null;
  readonly detail: string;
}
export const holds = (detail: string): Outcome => ({ ok: true, detail });
export const broken = (detail: string): Outcome => ({ ok: false, detail });
export const undecided = (detail: string): Outcome => ({ ok: null, detail });
