// The token this page shows to the gateway. In the tab's sessionStorage: it ends with the tab, is sent by nothing but this
// page's own requests (so no other page can use it), and is in no cookie and no address.
const KEY = 'tidemark-token';

export const tokenGiven = (): string | null => sessionStorage.getItem(KEY);

export function keepToken(token: string): void {
  sessionStorage.setItem(KEY, token);
}

export function forgetToken(): void {
  sessionStorage.removeItem(KEY);
}

/** `omit`: the browser would ask for a password of its own where it may use what it knows. */
export function withToken(init: RequestInit): RequestInit {
  const token = tokenGiven();
  const headers = token === null ? {} : { authorization: `Bearer ${token}` };
  return { cache: 'no-store', credentials: 'omit', ...init, headers };
}
