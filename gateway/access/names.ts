// What a principal may be called. A name can stand in a topic level, so nothing in it may mean something there.

export const NAME_BYTES_MAX = 256;
/** Names out of JSON Web Tokens are set apart by this, so that nobody's provider can make an admin of ours. */
export const JWT_PREFIX = 'jwt:';

// biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what is looked for
const UNUSABLE = /[\u0000-\u001f\u007f\ufffd/+#]/;

/** What speaks against `name`, or null. */
export function nameProblem(name: string): string | null {
  if (name === '') return 'a name is needed';
  if (name.length > NAME_BYTES_MAX || Buffer.byteLength(name) > NAME_BYTES_MAX)
    return `a name has at most ${NAME_BYTES_MAX} bytes`;
  if (UNUSABLE.test(name) || !name.isWellFormed())
    return 'a name has no control characters and none of / + #';
  if (name.startsWith('$')) return 'names that begin with $ belong to the gateway';
  if (name.trim() !== name) return 'a name neither begins nor ends with a space';
  return null;
}
