package dev.slmexport.demo.tokenizer

/** A character of a changed text: it takes the place of one character, is new (1) or swallows the next ones (-n). */
internal class Change(val point: Int, val change: Int)

/**
 * A text after some changes. Each UTF-16 unit of `text` stands for the code points `starts[i]` until `ends[i]` of the
 * original, whose part at hand begins at `origin`.
 */
internal class AlignedText(val text: String, val starts: IntArray, val ends: IntArray, val origin: Int) {
    fun slice(from: Int, to: Int): AlignedText {
        val begin = if (from < to) starts[from] else origin
        return AlignedText(text.substring(from, to), starts.copyOfRange(from, to), ends.copyOfRange(from, to), begin)
    }

    /** The text that `changes` make of this one, after its first `skipped` UTF-16 units. */
    fun changed(changes: List<Change>, skipped: Int = 0): AlignedText {
        val out = Builder(changes.size)
        var at = skipped
        for (change in changes) {
            val source = if (change.change > 0) at - 1 else at
            val start = if (source < 0) origin else starts[source]
            out.add(change.point, start, if (source < 0) origin else ends[source])
            if (change.change <= 0) at = text.offsetByCodePoints(at, 1 - change.change)
        }
        return out.build()
    }

    /** Each character replaced by one or more. */
    inline fun mapped(replacement: (Int) -> IntArray): AlignedText {
        val changes = ArrayList<Change>(text.length)
        text.eachCodePoint { point ->
            replacement(point).forEachIndexed { index, new -> changes += Change(new, if (index == 0) 0 else 1) }
        }
        return changed(changes)
    }

    inline fun filtered(keep: (Int) -> Boolean): AlignedText {
        val out = Builder(text.length)
        var at = 0
        text.eachCodePoint { point ->
            if (keep(point)) out.add(point, starts[at], ends[at])
            at += Character.charCount(point)
        }
        return out.build()
    }

    fun replaced(pattern: Regex, content: String): AlignedText {
        val out = Builder(text.length)
        for (part in parts(text, pattern)) {
            if (part.matches) {
                content.eachCodePoint { out.add(it, starts[part.end - 1], ends[part.end - 1]) }
            } else {
                out.add(this, part.start, part.end)
            }
        }
        return out.build()
    }

    fun prepended(prefix: String): AlignedText {
        if (text.isEmpty()) return this
        val out = Builder(prefix.length + text.length)
        prefix.eachCodePoint { out.add(it, starts[0], ends[0]) }
        out.add(this, 0, text.length)
        return out.build()
    }

    /** Each byte of the text's UTF-8 as the letter that stands for it in byte-level vocabularies. */
    fun spelledInBytes(): AlignedText {
        val bytes = text.toByteArray()
        val out = Builder(bytes.size)
        var at = 0
        var unit = 0
        text.eachCodePoint { point ->
            repeat(utf8Length(point)) {
                out.add(BYTE_LETTERS[bytes[at++].toInt() and 0xff].code, starts[unit], ends[unit])
            }
            unit += Character.charCount(point)
        }
        return out.build()
    }

    inner class Builder(capacity: Int) {
        private val text = StringBuilder(capacity)
        private var starts = IntArray(capacity + 1)
        private var ends = IntArray(capacity + 1)

        fun add(point: Int, start: Int, end: Int) {
            val from = text.length
            text.appendCodePoint(point)
            reserve()
            starts.fill(start, from, text.length)
            ends.fill(end, from, text.length)
        }

        fun add(other: AlignedText, from: Int, to: Int) {
            val at = text.length
            text.append(other.text, from, to)
            reserve()
            other.starts.copyInto(starts, at, from, to)
            other.ends.copyInto(ends, at, from, to)
        }

        fun build() = AlignedText(text.toString(), starts.copyOf(text.length), ends.copyOf(text.length), origin)

        private fun reserve() {
            if (text.length <= starts.size) return
            starts = starts.copyOf(2 * text.length)
            ends = ends.copyOf(2 * text.length)
        }
    }
}

/** `text` before any change. */
internal fun aligned(text: String): AlignedText {
    val starts = IntArray(text.length)
    var at = 0
    var index = 0
    text.eachCodePoint { point ->
        repeat(Character.charCount(point)) { starts[at++] = index }
        index++
    }
    return AlignedText(text, starts, IntArray(text.length) { starts[it] + 1 }, 0)
}

/** `text` with halves of surrogate pairs, which have no UTF-8, replaced. */
internal fun wellFormed(text: String): String {
    val out = StringBuilder(text.length)
    text.eachCodePoint { out.appendCodePoint(if (it in 0xd800..0xdfff) REPLACEMENT else it) }
    return out.toString()
}

/** Where each code point of `text` begins, in UTF-16 units, and where the last one ends. */
internal fun boundaries(text: String): IntArray {
    val all = IntArray(text.codePointCount(0, text.length) + 1)
    for (index in 1 until all.size) all[index] = text.offsetByCodePoints(all[index - 1], 1)
    return all
}
