// What a record's content type says of its payload. Looks at no payload.

export const LINE_PROTOCOL_TYPE = 'text/vnd.influx.line-protocol';

const JSON_TYPE = /^application\/(json|[a-z0-9.-]+\+json)$/;
const CBOR_TYPE = /^\s*application\/(cbor|[a-z0-9.-]+\+cbor)\s*(;|$)/i;
const LINE_TYPE = /^\s*text\/vnd\.influx\.line-protocol\s*(;|$)/i;

/** The essence of a content type, lower case: `application/json`. */
export const mediaTypeOf = (contentType: string): string =>
  contentType.split(';', 1)[0]!.trim().toLowerCase();

export const isJsonMediaType = (mediaType: string): boolean => JSON_TYPE.test(mediaType);

export const isCbor = (contentType: string): boolean => contentType !== '' && CBOR_TYPE.test(contentType);

export const isLineProtocol = (contentType: string): boolean =>
  contentType !== '' && LINE_TYPE.test(contentType);
