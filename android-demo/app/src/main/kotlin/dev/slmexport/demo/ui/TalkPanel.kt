package dev.slmexport.demo.ui

import android.view.View
import android.widget.EditText
import android.widget.ImageButton
import android.widget.LinearLayout
import android.widget.ScrollView
import android.widget.TextView
import dev.slmexport.demo.R

/** A conversation with a model that writes, token by token. */
class TalkPanel(root: View, private val asking: Asking) {
    private val panel: View = root.findViewById(R.id.talk)
    private val composer: View = root.findViewById(R.id.composer)
    private val scroll: ScrollView = root.findViewById(R.id.ask_scroll)
    private val hint: TextView = root.findViewById(R.id.talk_hint)
    private val turns: LinearLayout = root.findViewById(R.id.turns)
    private val message: EditText = root.findViewById(R.id.message)
    private val send: ImageButton = root.findViewById(R.id.send)
    private val example: View = root.findViewById(R.id.talk_example)
    private val forget: View = root.findViewById(R.id.forget)
    private val context = root.context
    private var page: Page? = null
    var shown: Boolean
        get() = panel.shown
        set(shown) {
            panel.shown = shown
            composer.shown = shown
        }

    init {
        message.onText { page?.text = it }
        send.setOnClickListener { page?.let { if (it.writing) asking.stop(it) else say(it) } }
        forget.setOnClickListener { page?.let(asking::forget) }
        example.setOnClickListener { page?.let { message.setText(it.nextExample().text) } }
    }

    fun show(page: Page, watching: Watching) {
        this.page = null  // whose text it is that the field gets
        message.setText(page.text)
        this.page = page
        hint.text = hint(page)
        turns.removeAllViews()
        watching.of(page.talk) { show(page, it) }
    }

    private fun hint(page: Page): String {
        val chat = page.model.bundle.chat ?: return context.getString(R.string.no_chat)
        return chat.refused?.let { context.getString(R.string.chat_refused, it) } ?: context.getString(R.string.talk_hint)
    }

    private fun say(page: Page) {
        if (page.text.isBlank()) return
        asking.say(page)
        message.setText("")
    }

    private fun show(page: Page, talk: List<Said>) {
        if (turns.childCount != talk.size) {
            turns.removeAllViews()
            talk.forEach { turns.addView(if (it.own) own(it) else turns.inflate(R.layout.turn_model)) }
        }
        talk.forEachIndexed { at, said -> if (!said.own) update(turns.getChildAt(at), said) }
        forget.shown = talk.isNotEmpty()
        example.shown = talk.isEmpty() && page.model.examples.isNotEmpty()
        send.setImageResource(if (page.writing) R.drawable.stop else R.drawable.send)
        send.contentDescription = context.getString(if (page.writing) R.string.stop else R.string.send)
        if (page.writing) scroll.post { scroll.smoothScrollTo(0, panel.bottom) }
    }

    private fun own(said: Said): View = turns.inflate(R.layout.turn_own).apply {
        (this as TextView).text = said.text
        contentDescription = context.getString(R.string.you_wrote, said.text)
    }

    private fun update(turn: View, said: Said) {
        val text: TextView = turn.findViewById(R.id.written)
        text.text = said.refused ?: said.text.trimStart()
        text.shown = text.text.isNotEmpty()
        text.setBackgroundResource(if (said.refused == null) R.drawable.bubble_model else R.drawable.card_error)
        val note: TextView = turn.findViewById(R.id.note)
        val told = note(said)
        if (note.text.toString() != told) note.text = told  // else it would be read out with every token
        note.shown = told.isNotEmpty()
    }

    private fun note(said: Said): String {
        val written = said.written
        return listOfNotNull(
            context.getString(R.string.writing).takeIf { said.writing && !said.stopped },
            context.getString(R.string.stopped).takeIf { said.stopped },
            context.getString(R.string.nothing_written).takeIf { written?.tokens == 0 },
            written?.takeIf { it.tokens > 0 }?.let {
                context.resources.getQuantityString(R.plurals.speed, it.tokens, it.tokens, number(it.tokensPerSecond, 1))
            },
        ).joinToString(" ")
    }
}
