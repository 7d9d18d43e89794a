package dev.slmexport.demo.ui

import org.junit.Assert.assertEquals
import org.junit.Test

class MarkdownTest {
    @Test fun frontMatterIsLeftOut() = assertEquals(listOf("# Name"), told("---\nlicense: mit\ntags:\n- onnx\n---\n\n# Name\n"))

    @Test fun linesOfOneParagraphAreOne() = assertEquals(listOf("one two", "three"), told("one\ntwo\n\nthree"))

    @Test fun itemsGoOn() = assertEquals(listOf("- one more", "- two"), told("- one\n  more\n* two"))

    @Test fun tablesHaveNamesAndRows() =
        assertEquals(listOf("a,b|1,2|3,"), told("| a | b |\n| --- | --- |\n| 1 | `2` |\n| 3 |  |"))

    @Test fun marksAndLinksAreText() = assertEquals(listOf("a bold x_y link"), told("a **bold** `x_y` [link](https://example.com)"))

    @Test fun nothingIsNothing() = assertEquals(emptyList<String>(), told(""))

    private fun told(markdown: String) = blocks(markdown).map {
        when (it) {
            is Heading -> "# ${it.text}"
            is Paragraph -> it.text
            is Item -> "- ${it.text}"
            is Table -> (listOf(it.names) + it.rows).joinToString("|") { row -> row.joinToString(",") }
        }
    }
}
