package dev.slmexport.demo.tokenizer

/** A stretch of a text, in UTF-16 units, that matches a pattern or lies between matches. */
internal class Part(val start: Int, val end: Int, val matches: Boolean)

internal fun parts(text: String, pattern: Regex): List<Part> {
    val parts = ArrayList<Part>()
    var end = 0
    for (match in pattern.findAll(text)) {
        if (end < match.range.first) parts += Part(end, match.range.first, false)
        end = match.range.last + 1
        parts += Part(match.range.first, end, true)
    }
    if (end < text.length) parts += Part(end, text.length, false)
    return parts
}

internal fun parts(text: String, matches: (Int) -> Boolean): List<Part> {
    val parts = ArrayList<Part>()
    var end = 0
    var at = 0
    text.eachCodePoint { point ->
        val next = at + Character.charCount(point)
        if (matches(point)) {
            if (end < at) parts += Part(end, at, false)
            parts += Part(at, next, true)
            end = next
        }
        at = next
    }
    if (end < at) parts += Part(end, at, false)
    return parts
}

internal fun inverted(parts: List<Part>): List<Part> = parts.map { Part(it.start, it.end, !it.matches) }

/** What becomes of the matches, by tokenizer.json's names: "the-final" split at "-" is the|final, the|-|final ... */
private val BEHAVIORS: Map<String, (List<Part>) -> List<Part>> = mapOf(
    "Removed" to { parts -> parts.filter { !it.matches } },
    "Isolated" to { parts -> parts },
    "Contiguous" to { parts -> joined(parts) { previous, match -> previous == match } },
    "MergedWithPrevious" to ::joinedToMatch,
    "MergedWithNext" to { parts -> joinedToMatch(parts.asReversed()).asReversed() },
)

internal fun behavior(name: String): (List<Part>) -> List<Part> = BEHAVIORS[name] ?: refuse("split behavior", name)

private fun joinedToMatch(parts: List<Part>) = joined(parts) { previous, match -> match && !previous }

private fun joined(parts: List<Part>, joins: (Boolean, Boolean) -> Boolean): List<Part> {
    val out = ArrayList<Part>()
    var previous = false
    for (part in parts) {
        if (out.isNotEmpty() && joins(previous, part.matches)) {
            val last = out.removeAt(out.size - 1)
            out += Part(minOf(last.start, part.start), maxOf(last.end, part.end), part.matches)
        } else {
            out += part
        }
        previous = part.matches
    }
    return out
}
