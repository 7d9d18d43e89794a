package dev.slmexport.demo.ui

/** A piece of a model card. */
sealed interface Block

class Heading(val text: String) : Block

class Paragraph(val text: String) : Block

class Item(val text: String) : Block

/** Rows without the one that names the columns. */
class Table(val names: List<String>, val rows: List<List<String>>) : Block

private val HEADING = Regex("#+ +(.*)")
private val ITEM = Regex("[-*] +(.*)")
private val LINK = Regex("""\[([^\]]*)]\([^)]*\)""")
private val MARKS = Regex("""\*\*|__|`""")
private const val FRONT_MATTER = "---"

/** The little Markdown that model cards have. Their front matter is for machines, and left out. */
fun blocks(markdown: String): List<Block> {
    val lines = body(markdown.lines())
    val blocks = mutableListOf<Block>()
    var at = 0
    while (at < lines.size) {
        val kind = kindOf(lines[at])
        var end = at + 1
        while (end < lines.size && goesOn(kind, kindOf(lines[end]))) end++
        block(kind, lines.subList(at, end))?.let(blocks::add)
        at = end
    }
    return blocks
}

private enum class Kind { BLANK, HEADING, ITEM, TABLE, TEXT }

private fun kindOf(line: String): Kind = when {
    line.isBlank() -> Kind.BLANK
    HEADING.matches(line) -> Kind.HEADING
    ITEM.matches(line.trim()) -> Kind.ITEM
    line.startsWith("|") -> Kind.TABLE
    else -> Kind.TEXT
}

private fun goesOn(kind: Kind, next: Kind): Boolean = when (kind) {
    Kind.TABLE -> next == Kind.TABLE
    Kind.TEXT, Kind.ITEM -> next == Kind.TEXT
    else -> false
}

private fun block(kind: Kind, lines: List<String>): Block? {
    val text = plain(lines.joinToString(" ") { it.trim() })
    return when (kind) {
        Kind.BLANK -> null
        Kind.HEADING -> Heading(HEADING.matchEntire(text)!!.groupValues[1])
        Kind.ITEM -> Item(ITEM.matchEntire(text)!!.groupValues[1])
        Kind.TABLE -> table(lines)
        Kind.TEXT -> Paragraph(text)
    }
}

private fun table(lines: List<String>): Table {
    val cells = lines.map { line -> line.trim().removeSurrounding("|").split("|").map { plain(it.trim()) } }
    return Table(cells.first(), cells.drop(2))
}

private fun body(lines: List<String>): List<String> {
    if (lines.first() != FRONT_MATTER) return lines
    return lines.drop(1).dropWhile { it != FRONT_MATTER }.drop(1)
}

private fun plain(text: String) = text.replace(LINK, "$1").replace(MARKS, "")
