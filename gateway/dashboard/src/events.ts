// Server-sent events over fetch: EventSource cannot show a token. Reports an end and leaves trying again to its user.
import { ApiError, get } from './api.ts';

export interface EventListener {
  onOpen(): void;
  onEvent(name: string, data: string): void;
  onEnd(error: ApiError): void;
}

const ENDED = new ApiError('unreachable', 'The gateway has ended the stream.');

/** Returns what ends the listening; `onEnd` is not called then. */
export function listen(path: string, listener: EventListener): () => void {
  const abort = new AbortController();
  read(path, listener, abort.signal).then(
    () => listener.onEnd(ENDED),
    (error: unknown) => {
      if (!abort.signal.aborted) listener.onEnd(error instanceof ApiError ? error : ENDED);
    },
  );
  return () => abort.abort();
}

async function read(path: string, listener: EventListener, signal: AbortSignal): Promise<void> {
  const response = await get(path, signal);
  listener.onOpen();
  const reader = response.body!.pipeThrough(new TextDecoderStream()).getReader();
  for (let rest = ''; ; ) {
    const { done, value } = await reader.read();
    if (done) return;
    const events = (rest + value).split('\n\n');
    rest = events.pop()!;
    for (const event of events) dispatch(event, listener);
  }
}

/** The gateway sends one line of each field, with LF. */
function dispatch(event: string, listener: EventListener): void {
  let name = 'message';
  let data: string | null = null;
  for (const line of event.split('\n')) {
    if (line.startsWith('event: ')) name = line.slice('event: '.length);
    else if (line.startsWith('data: ')) data = line.slice('data: '.length);
  }
  if (data !== null) listener.onEvent(name, data);
}
