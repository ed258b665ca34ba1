/* news - what became of a corpus's files since they were indexed, in words for `status`. */
#ifndef SKIPALIGN_CORPUS_NEWS_H
#define SKIPALIGN_CORPUS_NEWS_H

#include "corpus/catalog.h"

#include <stddef.h>

/* news_tell - see corpus_news.   Threads: any. */
bool news_tell(const struct catalog *c, const struct conf_corpus *conf, char *text, size_t cap);

/* news_lost - see corpus_lost. */
bool news_lost(const struct catalog *c);

#endif
