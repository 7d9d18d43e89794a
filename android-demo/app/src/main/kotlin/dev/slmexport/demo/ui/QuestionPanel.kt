package dev.slmexport.demo.ui

import android.graphics.Rect
import android.view.View
import android.widget.Button
import android.widget.EditText
import android.widget.LinearLayout
import android.widget.TextView
import dev.slmexport.demo.R
import dev.slmexport.demo.task.Second

private val SECOND_LABELS = mapOf(
    Second.PAIR to R.string.second_pair, Second.CONTEXT to R.string.second_context, Second.CANDIDATES to R.string.second_candidates,
)

/** Texts go in, and an answer comes out. */
class QuestionPanel(root: View, private val asking: Asking) {
    private val panel: View = root.findViewById(R.id.question)
    private val first: EditText = root.findViewById(R.id.first)
    private val firstLabel: TextView = root.findViewById(R.id.first_label)
    private val second: EditText = root.findViewById(R.id.second)
    private val secondLabel: TextView = root.findViewById(R.id.second_label)
    private val answer: Button = root.findViewById(R.id.answer)
    private val example: Button = root.findViewById(R.id.example)
    private val reply: LinearLayout = root.findViewById(R.id.reply)
    private var page: Page? = null
    var shown by panel::shown

    init {
        first.onText { page?.text = it }
        second.onText { page?.second = it }
        answer.setOnClickListener { page?.let(::ask) }
        example.setOnClickListener { page?.let(::fillIn) }
    }

    fun show(page: Page, watching: Watching) {
        this.page = null  // whose text it is that the fields get
        first.setText(page.text)
        second.setText(page.second)
        this.page = page
        val kind = page.model.second
        firstLabel.setText(if (kind == Second.CONTEXT) R.string.question else R.string.text)
        secondLabel.shown = kind != null
        second.shown = kind != null
        SECOND_LABELS[kind]?.let(secondLabel::setText)
        example.shown = page.model.examples.isNotEmpty()
        watching.of(page.outcome, ::show)
    }

    private fun ask(page: Page) {
        panel.hideKeyboard()
        if (page.text.isBlank()) page.outcome.value = Refused(panel.context.getString(R.string.nothing_typed)) else asking.ask(page)
    }

    private fun fillIn(page: Page) {
        val example = page.nextExample()
        first.setText(example.text)
        second.setText(example.second.orEmpty())
    }

    private fun show(outcome: Outcome) {
        answer.isEnabled = outcome !is Working
        reply.shown = outcome != Unasked
        reply.setBackgroundResource(if (outcome is Refused) R.drawable.card_error else R.drawable.card)
        reply.removeAllViews()
        when (outcome) {
            Unasked -> Unit
            is Working -> reply.addView(working(outcome))
            is Refused -> reply.addLine(outcome.sentence)
            is Answered -> show(outcome)
        }
    }

    private fun working(outcome: Working): View = reply.inflate(R.layout.working).apply {
        findViewById<TextView>(R.id.working).setText(if (outcome.opening) R.string.opening else R.string.answering)
    }

    private fun show(answered: Answered) {
        reply.add(answered.reply)
        val context = reply.context
        val took = context.getString(R.string.took, context.milliseconds(answered.millis), answered.runtime)
        val opened = answered.openMillis?.let { context.getString(R.string.opened_in, context.milliseconds(it)) }
        reply.addLine(listOfNotNull(took, opened).joinToString("\n"), R.style.Small, gap = 16)
        reply.post { reply.requestRectangleOnScreen(Rect(0, 0, reply.width, reply.height + reply.dp(16))) }
    }
}
