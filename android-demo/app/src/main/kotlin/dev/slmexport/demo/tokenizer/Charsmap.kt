package dev.slmexport.demo.tokenizer

import java.nio.ByteBuffer
import java.nio.ByteOrder
import java.util.Base64

/**
 * SentencePiece's precompiled_charsmap: a double-array trie from UTF-8 to places in a list of replacements, as the
 * Rust library reads it (https://github.com/huggingface/spm_precompiled).
 */
internal class Charsmap(encoded: String) {
    private val units: IntArray
    private val replacements: ByteArray

    init {
        val bytes = ByteBuffer.wrap(Base64.getDecoder().decode(encoded)).order(ByteOrder.LITTLE_ENDIAN)
        units = IntArray(bytes.getInt() / 4) { bytes.getInt() }
        replacements = ByteArray(bytes.remaining()).also { bytes.get(it) }
    }

    fun applied(text: AlignedText): AlignedText {
        val changes = ArrayList<Change>(text.text.length)
        var at = 0
        while (at < text.text.length) {
            val end = clusterEnd(text.text, at)
            add(text.text.substring(at, end), changes)
            at = end
        }
        return text.changed(changes)
    }

    /** A short cluster is replaced as a whole by what its shortest known start stands for, odd as this is. */
    private fun add(cluster: String, changes: MutableList<Change>) {
        val bytes = cluster.toByteArray()
        val whole = if (bytes.size < 6) replacement(bytes) else null
        if (whole != null) return replace(cluster.codePointCount(0, cluster.length), whole, changes)
        cluster.eachCodePoint { point ->
            val new = replacement(String(Character.toChars(point)).toByteArray())
            if (new == null) changes += Change(point, 0) else replace(1, new, changes)
        }
    }

    private fun replace(oldLength: Int, new: String, changes: MutableList<Change>) {
        val added = new.codePointCount(0, new.length) - oldLength
        var index = 0
        new.eachCodePoint { changes += Change(it, if (index++ < oldLength) 0 else 1) }
        if (added < 0 && changes.isNotEmpty()) {
            val last = changes.removeAt(changes.size - 1)
            changes += Change(last.point, last.change + added)
        }
    }

    private fun replacement(bytes: ByteArray): String? {
        val start = shortestMatch(bytes) ?: return null
        var end = start
        while (end < replacements.size && replacements[end] != 0.toByte()) end++
        return String(replacements, start, end - start, Charsets.UTF_8)
    }

    private fun shortestMatch(bytes: ByteArray): Int? {
        var node = offset(units[0])
        for (byte in bytes) {
            val value = byte.toInt() and 0xff
            node = node xor value
            val unit = units[node]
            if (value == 0 || unit and LABEL != value) return null
            node = node xor offset(unit)
            if (unit and HAS_LEAF != 0) return units[node] and VALUE
        }
        return null
    }

    private fun offset(unit: Int): Int = unit ushr 10 shl (unit and 0x200 ushr 6)

    private companion object {
        const val LABEL = 0xff or (1 shl 31)
        const val HAS_LEAF = 0x100
        const val VALUE = Int.MAX_VALUE
    }
}
