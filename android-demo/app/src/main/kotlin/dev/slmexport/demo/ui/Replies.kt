package dev.slmexport.demo.ui

import android.graphics.Typeface
import android.text.SpannableString
import android.text.Spanned
import android.text.style.BackgroundColorSpan
import android.text.style.StyleSpan
import android.view.View
import android.widget.LinearLayout
import android.widget.ProgressBar
import android.widget.TextView
import dev.slmexport.demo.R
import dev.slmexport.demo.task.Fills
import dev.slmexport.demo.task.Neighbours
import dev.slmexport.demo.task.Passage
import dev.slmexport.demo.task.Quantity
import dev.slmexport.demo.task.Reply
import dev.slmexport.demo.task.Score
import dev.slmexport.demo.task.Scores
import dev.slmexport.demo.task.Tags

private val TAG_COLORS = listOf(R.color.tag_1, R.color.tag_2, R.color.tag_3, R.color.tag_4, R.color.tag_5, R.color.tag_6)
private const val MOST_SCORES = 5

/** Adds what shows a reply. */
fun LinearLayout.add(reply: Reply) = when (reply) {
    is Scores -> addScores(reply)
    is Quantity -> { addLine(number(reply.value.toDouble(), 3), R.style.Title) }
    is Tags -> addTags(reply)
    is Passage -> addPassage(reply)
    is Neighbours -> addNeighbours(reply)
    is Fills -> addFills(reply)
}

private fun LinearLayout.addScores(reply: Scores) {
    if (reply.scores.none { it.chosen }) addLine(context.getString(R.string.no_labels), R.style.Strong)
    val chosen = reply.scores.count { it.chosen }
    reply.scores.take(maxOf(MOST_SCORES, chosen)).forEach { addScore(it, percent(it.value), it.value) }
}

private fun LinearLayout.addNeighbours(reply: Neighbours) {
    addLine(context.getString(R.string.similarity), R.style.Small)
    reply.scores.forEach { addScore(it, number(it.value.toDouble(), 2), it.value) }
}

private fun LinearLayout.addFills(reply: Fills) = reply.masks.forEachIndexed { at, scores ->
    if (reply.masks.size > 1) addLine(context.getString(R.string.mask_number, at + 1), R.style.Label, gap = if (at > 0) 16 else 0)
    scores.forEach { addScore(it, percent(it.value), it.value) }
}

/** A labelled bar of `share` of the width. */
private fun LinearLayout.addScore(score: Score, value: String, share: Float) {
    val row = inflate(R.layout.score)
    val label = row.findViewById<TextView>(R.id.label)
    label.text = score.label
    if (score.chosen) label.setTextAppearance(R.style.Strong)
    row.findViewById<TextView>(R.id.value).text = value
    row.findViewById<View>(R.id.chosen).shown = score.chosen
    row.findViewById<ProgressBar>(R.id.bar).progress = (share.coerceIn(0f, 1f) * 1000).toInt()
    row.describe(context.getString(if (score.chosen) R.string.score_chosen else R.string.score, score.label, value))
    addView(row)
}

private fun LinearLayout.addTags(reply: Tags) {
    val labels = reply.spans.map { it.label }.distinct()
    val colors = labels.withIndex().associate { (at, label) -> label to context.getColor(TAG_COLORS[at % TAG_COLORS.size]) }
    val text = SpannableString(reply.text)
    reply.spans.forEach { text.mark(it.range, colors.getValue(it.label)) }
    addMarked(text)
    if (labels.isEmpty()) addLine(context.getString(R.string.no_tags), R.style.Small, gap = 8)
    labels.forEach { label ->
        val found = reply.spans.filter { it.label == label }.joinToString(", ") { reply.text.substring(it.range) }
        addLegend(label, found, colors.getValue(label))
    }
}

private fun LinearLayout.addLegend(label: String, found: String, color: Int) {
    val row = inflate(R.layout.legend)
    row.findViewById<TextView>(R.id.label).apply {
        text = label
        background.mutate().setTint(color)
    }
    row.findViewById<TextView>(R.id.value).text = found
    row.describe(context.getString(R.string.tagged_as, label, found))
    addView(row)
}

private fun LinearLayout.addPassage(reply: Passage) {
    val range = reply.range
    val text = SpannableString(reply.context)
    if (range == null) {
        addLine(context.getString(R.string.no_span), R.style.Strong)
    } else {
        addLine(reply.context.substring(range), R.style.Heading)
        text.mark(range, context.getColor(R.color.accent_soft))
        text.setSpan(StyleSpan(Typeface.BOLD), range.first, range.last + 1, Spanned.SPAN_EXCLUSIVE_EXCLUSIVE)
    }
    addMarked(text, gap = 16)
}

/** Without room between lines, which marks would fill on one side only. */
private fun LinearLayout.addMarked(text: CharSequence, gap: Int = 0) = addLine(text, gap = gap).setLineSpacing(0f, 1f)

private fun SpannableString.mark(range: IntRange, color: Int) =
    setSpan(BackgroundColorSpan(color), range.first, range.last + 1, Spanned.SPAN_EXCLUSIVE_EXCLUSIVE)
