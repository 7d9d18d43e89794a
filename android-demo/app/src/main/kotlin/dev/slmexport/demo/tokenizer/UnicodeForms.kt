package dev.slmexport.demo.tokenizer

import java.text.Normalizer
import java.text.Normalizer.Form

/** The text in a Unicode normalization form. */
internal fun AlignedText.inForm(form: Form): AlignedText {
    if (Normalizer.isNormalized(text, form)) return this
    val compatible = form == Form.NFKC || form == Form.NFKD
    val decomposed = decomposed(text, if (compatible) Form.NFKD else Form.NFD)
    val composes = form == Form.NFC || form == Form.NFKC
    return changed(if (composes) composed(decomposed, Normalizer.normalize(text, form)) else decomposed)
}

private fun decomposed(text: String, form: Form): List<Change> {
    val changes = ArrayList<Change>(text.length)
    text.eachCodePoint { point ->
        var change = 0
        decomposition(point, form).eachCodePoint { changes += Change(it, change).also { change = 1 } }
    }
    return reordered(changes, Normalizer.normalize(text, form))
}

private fun decomposition(point: Int, form: Form): String =
    String(Character.toChars(point)).let { if (point < 0x80) it else Normalizer.normalize(it, form) }

/** The changes in the order of `target`, which sorts combining marks but keeps equal ones in their order. */
private fun reordered(changes: List<Change>, target: String): List<Change> {
    val waiting = changes.groupBy { it.point }.mapValues { (_, alike) -> alike.iterator() }
    val ordered = ArrayList<Change>(changes.size)
    target.eachCodePoint { ordered += waiting.getValue(it).next() }
    return ordered
}

/** The characters of `target`, each of them one or several of `parts`: a composed one swallows what it is made of. */
private fun composed(parts: List<Change>, target: String): List<Change> {
    val changes = ArrayList<Change>(target.length)
    val used = BooleanArray(parts.size)
    var next = 0
    target.eachCodePoint { point ->
        var at = next
        var change = 1
        decomposition(point, Form.NFD).eachCodePoint { part ->
            while (used[at] || parts[at].point != part) at++
            used[at] = true
            change += parts[at].change - 1
        }
        changes += Change(point, change)
        while (next < used.size && used[next]) next++
    }
    return changes
}
