package dev.slmexport.demo.task

import dev.slmexport.demo.model.Bundle
import dev.slmexport.demo.model.Matrix
import dev.slmexport.demo.model.Sample
import dev.slmexport.demo.model.best
import dev.slmexport.demo.runtime.Session

private const val ABSENT = -1
private const val OUTSIDE = "O"

/** A tag for each word, which is that of the word's first token. */
class Tagging(private val bundle: Bundle) : Task {
    override val second get() = null

    override fun rows(outputs: Map<String, Matrix>, sample: Sample) =
        outputs.getValue("logits").rows(sample.ids.indices.toList())

    override fun answer(rows: Matrix, sample: Sample) = sample.positions!!.map { tag(rows, it) }

    override fun encode(sample: Sample) = bundle.tokenizer.encodeWords(sample.words)

    override fun ask(session: Session, text: String, second: String?): Reply {
        val words = wordsOf(text)
        val encoding = bundle.tokenizer.encodeWords(words.map(text::substring))
        val rows = session.run(encoding.tokens()).getValue("logits")
        val tags = words.indices.map { tag(rows, encoding.words.indexOf(it)) }
        return Tags(text, spans(words, tags))
    }

    private fun tag(rows: Matrix, position: Int): String =
        if (position != ABSENT) bundle.labels[rows[position].best()] else OUTSIDE.takeIf { it in bundle.labels } ?: bundle.labels[0]
}

/** Words between white space, without the punctuation around them, which is a word for each character. */
internal fun wordsOf(text: String): List<IntRange> = buildList {
    var start = 0
    while (start < text.length) {
        val end = (start until text.length).firstOrNull { text[it].isWhitespace() } ?: text.length
        val inner = (start until end).filter { text[it].isLetterOrDigit() || text[it].isSurrogate() }
        val first = inner.firstOrNull() ?: end
        (start until first).forEach { add(it..it) }
        if (inner.isNotEmpty()) {
            add(first..inner.last())
            (inner.last() + 1 until end).forEach { add(it..it) }
        }
        start = end + 1
    }
}

/** Neighbouring words of one entity as one span: of tags B-X, I-X, or of plain labels. */
internal fun spans(words: List<IntRange>, tags: List<String>): List<TaggedSpan> = buildList {
    for ((word, tag) in words.zip(tags)) {
        val label = tag.removePrefix("B-").removePrefix("I-")
        if (tag == OUTSIDE) continue
        val last = lastOrNull()
        val before = words.indexOf(word) - 1
        val goes = last != null && !tag.startsWith("B-") && last.label == label && last.range.last == words[before].last
        if (goes) this[lastIndex] = TaggedSpan(last.range.first..word.last, label) else add(TaggedSpan(word, label))
    }
}
