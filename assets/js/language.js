// The best of the languages that the page has, as the browser's are ranked.
function wantedLanguage(translations) {
  for (const language of navigator.languages || [navigator.language]) {
    if (translations[language]) return language;
    const base = language.split('-')[0];
    if (translations[base]) return base;
  }
  return Object.keys(translations)[0];
}
