package dev.slmexport.demo.tokenizer

private const val SPACES = "\\t-\\r\\x20\\x85\\xA0\\u1680\\u2000-\\u200A\\u2028\\u2029\\u202F\\u205F\\u3000"
private val CATEGORIES = setOf(
    "L", "Lu", "Ll", "Lt", "Lm", "Lo", "M", "Mn", "Mc", "Me", "N", "Nd", "Nl", "No", "P", "Pc", "Pd", "Ps", "Pe",
    "Pi", "Pf", "Po", "S", "Sm", "Sc", "Sk", "So", "Z", "Zs", "Zl", "Zp",
)
private val GROUPS = listOf("(?i:", "(?:", "(?=", "(?!", "(?<=", "(?<!", "(?>")
private val COUNT = Regex("\\{[0-9]+(,[0-9]*)?\\}(?!\\+)")
private val OTHER_CASES = mapOf('s' to "\u017f", 'k' to "\u212a")

/**
 * A pattern of tokenizer.json, which is Oniguruma's, as one that the JVM and Android both read in that sense: \s is
 * spelled out and (?i:...) becomes character classes. What could mean anything else on one of them is refused.
 */
internal fun translated(source: String): Regex = Regex(Translation(source).whole())

private class Translation(private val source: String) {
    private val out = StringBuilder()
    private var at = 0
    private val groups = ArrayList<Boolean>()

    fun whole(): String {
        while (at < source.length) next()
        return out.toString()
    }

    private fun next() {
        when (val char = source[at]) {
            '\\' -> out.append(escape(inClass = false))
            '[' -> characters()
            '(' -> open()
            ')' -> close()
            '{' -> count()
            '.' -> copy("[^\\n]", 1)
            '^', '$' -> unknown(char.toString())
            '?', '*', '+', '|' -> copy(char.toString(), 1)
            else -> copy(if (groups.any { it }) bothCases(char) else literal(char), 1)
        }
    }

    private fun copy(text: String, length: Int) {
        out.append(text)
        at += length
    }

    private fun open() {
        val group = GROUPS.firstOrNull { source.startsWith(it, at) } ?: "("
        if (group == "(" && source.startsWith("(?", at)) unknown(source.substring(at, minOf(at + 4, source.length)))
        groups += group == "(?i:"
        copy(if (group == "(?i:") "(?:" else group, group.length)
    }

    private fun close() {
        groups.removeAt(groups.size - 1)
        copy(")", 1)
    }

    private fun count() {
        val count = COUNT.find(source, at)?.takeIf { it.range.first == at } ?: unknown(source.substring(at))
        copy(count.value, count.value.length)
    }

    private fun escape(inClass: Boolean): String {
        val char = source.getOrNull(at + 1) ?: unknown("\\")
        at += 2
        return when {
            char == 's' -> if (inClass) SPACES else "[$SPACES]"
            char == 'S' && !inClass -> "[^$SPACES]"
            char == 'd' -> "\\p{Nd}"
            char in "rntf" -> "\\$char"
            char in "pP" -> "\\$char{${category()}}"
            char == 'u' -> "\\u${hexadecimal(4)}"
            char == 'x' -> "\\x${hexadecimal(2)}"
            char.isLetterOrDigit() -> unknown("\\$char")
            else -> literal(char)
        }
    }

    private fun category(): String {
        val name = source.substring(at).substringBefore('}', "").removePrefix("{")
        if (name !in CATEGORIES) unknown("\\p{$name}")
        at += name.length + 2
        return name
    }

    private fun hexadecimal(length: Int): String {
        val digits = source.substring(at).take(length)
        if (digits.length < length || digits.any { Character.digit(it, 16) < 0 }) unknown("\\x$digits")
        at += length
        return digits
    }

    private fun characters() {
        if (groups.any { it }) unknown("class inside (?i:")
        copy("[", 1)
        if (source.startsWith("^", at)) copy("^", 1)
        if (source.startsWith("]", at)) unknown("empty class")
        while (source.getOrNull(at) != ']') member()
        copy("]", 1)
    }

    private fun member() {
        val char = source.getOrNull(at) ?: unknown("unfinished class")
        when {
            char == '\\' -> out.append(escape(inClass = true))
            char == '[' || source.startsWith("&&", at) -> unknown("class within a class")
            char == '-' -> copy("-", 1)
            else -> copy(literal(char), 1)
        }
    }

    private fun literal(char: Char): String =
        if (char.code >= 0x80 || char.isLetterOrDigit()) char.toString() else "\\x" + hex(char)

    private fun hex(char: Char): String = Integer.toHexString(0x100 or char.code).substring(1)

    private fun bothCases(char: Char): String {
        val lower = char.lowercaseChar()
        return when {
            char.code >= 0x80 -> unknown("(?i:$char)")
            lower in 'a'..'z' -> "[$lower${lower.uppercaseChar()}${OTHER_CASES[lower].orEmpty()}]"
            else -> literal(char)
        }
    }

    private fun unknown(what: String): Nothing = refuse("pattern with", "$what in $source")
}
