// Marks in the conversation the words that are being spoken, in place; changes nothing of it and knows no session.
//
// When a word is spoken nobody knows, only how much of the speech was played. As app/session/cut.py has it, the words
// lie at that share of the characters, and speech that is still being made lasts at least S_PER_CHARACTER. As
// app/session/captions.py has it, a caption is a sentence, a long one MAX_LINE characters of it. Styled as
// ::highlight(spoken); where the browser lacks the CSS Custom Highlight API, nothing happens.
window.omniCaptions = (() => {
  const S_PER_CHARACTER = 0.066;
  const MAX_LINE = 60;
  const BLOCKS = 'p, li, dt, dd, td, th, pre, blockquote, h1, h2, h3, h4, h5, h6, .prose';
  const BREAK = '\u2029'; // between two blocks; no sentence goes on behind it
  const SENTENCE = /[^\u2029]+?(?:[.!?…。！？]+["')\]]*(?=\s|$)|[。！？]|(?=\u2029)|$)/gu;

  // The sentences of a text, long ones cut between words: [{start, end}].
  const linesOf = (text) => {
    const lines = [];
    for (const { 0: sentence, index } of text.matchAll(SENTENCE)) {
      let line = null;
      for (const { 0: word, index: offset } of sentence.matchAll(/\S+/g)) {
        const wordEnd = index + offset + word.length;
        // A language without spaces, or something that is no word, is cut where it is too long.
        for (let start = index + offset; start < wordEnd; start += MAX_LINE) {
          const end = Math.min(start + MAX_LINE, wordEnd);
          if (line && end - line.start <= MAX_LINE) line.end = end;
          else lines.push(line = { start, end });
        }
      }
    }
    return lines;
  };

  // The text of an element, and where in it each of its text nodes begins.
  const read = (element) => {
    const nodes = [];
    let [text, block] = ['', null];
    const walker = document.createTreeWalker(element, NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) {
      const node = walker.currentNode;
      const itsBlock = node.parentElement.closest(BLOCKS);
      if (block && itsBlock !== block) text += BREAK;
      block = itsBlock;
      nodes.push({ node, start: text.length });
      text += node.data;
    }
    return { text: text.trimEnd(), nodes };
  };

  const rangeOf = ({ start, end }, nodes) => {
    const first = nodes.findLast((one) => one.start <= start);
    const last = nodes.findLast((one) => one.start < end);
    const range = new Range();
    range.setStart(first.node, start - first.start);
    range.setEnd(last.node, end - last.start);
    return range;
  };

  // A reply is drawn as a row of words and, below it, a row with all that belongs to them.
  const wordsAbove = (foot) => {
    const row = foot?.closest('.bot-row').previousElementSibling;
    return row?.matches('.bot-row:not(:has(.reply-foot))') ? row.querySelector('.prose') : null;
  };
  // A reply that is still being made is the newest; it has no buttons yet, which would tell its turn.
  const wordsOfTurn = (turn) => {
    const feet = turn ? [...document.querySelectorAll('#chat .bot-row .reply-foot')] : [];
    const running = feet.at(-1)?.matches(':not(:has([data-turn]))') ? feet.at(-1) : null;
    return wordsAbove(feet.find((foot) => foot.querySelector(`[data-turn="${turn}"]`)) || running);
  };

  // Speech of the server as window.omniPlayer plays it. More of it may come than was thought, so that the share falls:
  // the captions wait then, they never go back.
  const fromServer = (player) => {
    const { stats } = player;
    let furthest = 0;
    return {
      of: stats,
      goesOn: () => player.stats === stats && ['speaking', 'buffering'].includes(player.state),
      words: () => wordsOfTurn(stats.turn),
      place: (numCharacters) => {
        const least = stats.ended ? 0 : numCharacters * S_PER_CHARACTER * stats.rate;
        const share = stats.renderedSamples / Math.max(1, stats.receivedSamples, least);
        return furthest = Math.max(furthest, share * numCharacters);
      },
    };
  };
  // Speech that a reply's own audio element plays, which may be wound back.
  const fromReply = (audio) => ({
    of: audio,
    goesOn: () => audio.isConnected && !audio.paused && !audio.ended,
    words: () => wordsAbove(audio.closest('.reply-foot')),
    place: (numCharacters) => (audio.duration > 0 ? (audio.currentTime / audio.duration) * numCharacters : 0),
  });

  let speech = null; // what is followed, the newest of what sounds
  let marked = null; // the caption that is shown, and the words and nodes that it was found in

  const clear = () => {
    CSS.highlights.delete('spoken');
    marked = null;
  };

  // The conversation is drawn anew while a reply grows, so its words are looked for each time.
  const mark = () => {
    const element = speech.words();
    if (!element) return clear();
    const { text, nodes } = read(element);
    const isSame = marked?.text === text && nodes.every(({ node }, i) => node === marked.nodes[i]?.node);
    const lines = isSame ? marked.lines : linesOf(text);
    const place = speech.place(text.length);
    const line = lines.findLast(({ start }) => start <= place) || lines[0];
    if (!line) return clear();
    if (!isSame || line !== marked.line) CSS.highlights.set('spoken', new Highlight(rangeOf(line, nodes)));
    marked = { text, nodes, lines, line };
  };

  const step = () => {
    if (!speech.goesOn()) {
      speech = null;
      return clear();
    }
    mark();
    requestAnimationFrame(step);
  };

  const follow = (newest) => {
    const isIdle = speech === null;
    // Speech that waited for more goes on from where it was.
    if (speech?.of !== newest.of) speech = newest;
    if (isIdle) requestAnimationFrame(step);
  };

  if (!window.CSS?.highlights) return { linesOf };
  window.addEventListener('omniplayer', ({ detail }) => {
    if (detail.state === 'speaking') follow(fromServer(window.omniPlayer));
  });
  document.addEventListener('play', ({ target }) => {
    if (target.closest?.('#chat .reply-foot')) follow(fromReply(target));
  }, true);
  return { linesOf };
})();
