package dev.slmexport.demo.ui

import android.content.ClipData
import android.content.ClipboardManager
import android.content.Context
import android.view.ViewGroup
import android.widget.LinearLayout
import android.widget.TextView
import android.widget.Toast
import dev.slmexport.demo.R
import dev.slmexport.demo.selftest.ArtifactVerdict
import dev.slmexport.demo.selftest.BundleVerdict
import dev.slmexport.demo.selftest.LoadedFile
import dev.slmexport.demo.selftest.Outcome as Verdict

private class Badge(val text: Int, val background: Int, val color: Int)

private val BADGES = mapOf(
    Verdict.PASS to Badge(R.string.pass, R.drawable.badge, R.color.accent),
    Verdict.FAIL to Badge(R.string.fail, R.drawable.badge_error, R.color.error),
    Verdict.SKIPPED to Badge(R.string.skipped, R.drawable.badge_quiet, R.color.muted),
)
private const val SHOWN_OF_HASH = 12

fun LinearLayout.addTokenizer(verdict: BundleVerdict) {
    val (cases, wrong) = verdict.cases to verdict.tokenizer
    val facts = addCard(context.getString(R.string.tokenizer), if (wrong.isEmpty()) Verdict.PASS else Verdict.FAIL)
    if (wrong.isEmpty()) facts.addLine(context.resources.getQuantityString(R.plurals.tokenizer_same, cases, cases))
    wrong.forEach { facts.addLine(it, gap = 4) }
}

fun LinearLayout.addVerdict(verdict: ArtifactVerdict) {
    val facts = addCard(context.nameOf(verdict.artifact), verdict.outcome)
    verdict.failures.forEach { facts.addLine(it).setPadding(0, 0, 0, dp(8)) }
    if (verdict.cases > 0) facts.addMeasured(verdict)
    facts.addLine(context.getString(R.string.hashes), R.style.Label, gap = 12)
    verdict.files.forEach(facts::addHash)
}

private fun LinearLayout.addCard(name: String, verdict: Verdict): LinearLayout {
    val card = inflate(R.layout.verdict)
    card.findViewById<TextView>(R.id.artifact_name).text = name
    val badge = BADGES.getValue(verdict)
    card.findViewById<TextView>(R.id.verdict).apply {
        setText(badge.text)
        setBackgroundResource(badge.background)
        setTextColor(context.getColor(badge.color))
    }
    (card.layoutParams as ViewGroup.MarginLayoutParams).apply {
        topMargin = dp(8)
        bottomMargin = dp(8)
    }
    addView(card)
    return card.findViewById(R.id.facts)
}

private fun LinearLayout.addMeasured(verdict: ArtifactVerdict) {
    fun text(id: Int, vararg values: Any) = context.getString(id, *values)
    addFact(text(R.string.fact_answers), text(R.string.of, verdict.agreeing, verdict.cases))
    addFact(text(R.string.fact_cosine), bounded(R.string.at_least, verdict.minCosine, verdict.allowedCosine) { number(it, 6) })
    addFact(text(R.string.fact_error), bounded(R.string.at_most, verdict.maxError, verdict.allowedError, ::short))
    addFact(text(R.string.fact_time), context.milliseconds(verdict.millisPerCase))
    addFact(text(R.string.fact_load), context.milliseconds(verdict.loadMillis))
    addFact(text(R.string.fact_runtime), verdict.runtime)
}

private fun LinearLayout.bounded(format: Int, value: Double?, bound: Double?, write: (Double) -> String): String {
    val shown = value?.let(write).orEmpty()
    return if (bound == null) shown else context.getString(format, shown, write(bound))
}

/** Shortened to be seen, whole to be heard or copied. */
private fun LinearLayout.addHash(file: LoadedFile) {
    val row = inflate(R.layout.file)
    row.findViewById<TextView>(R.id.name).text = file.path
    row.findViewById<TextView>(R.id.value).text = context.getString(R.string.shortened, file.sha256.take(SHOWN_OF_HASH))
    row.describe(context.getString(R.string.hash, file.path, file.sha256))
    row.setOnClickListener { context.copy(file.path, file.sha256) }
    addView(row)
}

private fun Context.copy(name: String, text: String) {
    (getSystemService(Context.CLIPBOARD_SERVICE) as ClipboardManager).setPrimaryClip(ClipData.newPlainText(name, text))
    Toast.makeText(this, R.string.copied, Toast.LENGTH_SHORT).show()
}
