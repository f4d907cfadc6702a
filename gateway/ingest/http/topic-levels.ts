// Topics made from what clients name: a template such as {bucket}/{host}/{measurement}, filled level by level. Refuses
// nothing: what cannot stand in a level becomes `_`.

// biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what must not stand in a topic
const NOT_IN_A_LEVEL = /[/+#\u0000-\u001f\u007f\ufffd]/g;

/** Fills in one topic; `valueFor` answers undefined or '' where there is no value. */
export type TopicFiller = (valueFor: (name: string) => string | undefined) => string;

export function topicFiller(template: string): TopicFiller {
  const levels = template.split('/').map((text) => {
    const name = /^\{(.+)\}$/.exec(text)?.[1];
    return { name: name ?? null, text };
  });
  return (valueFor) => {
    const topic = levels
      .map(({ name, text }) => (name === null ? text : levelOf(valueFor(name) ?? '')))
      .join('/');
    // Topics that begin with $ belong to the gateway.
    return topic.startsWith('$') ? `_${topic.slice(1)}` : topic;
  };
}

const levelOf = (value: string) => (value === '' ? '_' : value.replaceAll(NOT_IN_A_LEVEL, '_'));
