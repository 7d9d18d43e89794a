package dev.slmexport.demo.ui

import android.view.View
import android.widget.AdapterView
import android.widget.Spinner
import android.widget.TextView
import dev.slmexport.demo.R
import dev.slmexport.demo.task.writes

/** Chooses a model and an artifact, and shows what can be asked of them. */
class AskScreen(private val root: View, library: Watched<Library>, private val watching: Watching) {
    private val context = root.context
    private val nothing: TextView = root.findViewById(R.id.ask_nothing)
    private val subtitle: TextView = root.findViewById(R.id.subtitle)
    private val choices: View = root.findViewById(R.id.choices)
    private val models: Spinner = root.findViewById(R.id.model)
    private val artifacts: Spinner = root.findViewById(R.id.artifact)
    private val ofPage = Watching()

    init {
        watching.of(library, ::show)
        watching.atEnd(ofPage::end)
    }

    private fun show(library: Library) {
        nothing.shown = library !is Ready || library.asking.pages.isEmpty()
        when (library) {
            Preparing -> nothing.setText(R.string.preparing)
            is Unreadable -> nothing.text = library.sentence
            is Ready -> if (library.asking.pages.isEmpty()) nothing.setText(R.string.no_bundle) else show(library.asking)
        }
    }

    private fun show(asking: Asking) {
        choices.shown = true
        models.adapter = Choices(context, asking.pages.map { it.name }, R.string.choice_model)
        models.shown = asking.pages.size > 1
        models.onChosen { if (asking.pages[it] !== asking.page.value) asking.choose(asking.pages[it]) }
        val panels = Panels(QuestionPanel(root, asking), TalkPanel(root, asking))
        watching.of(asking.page) { page -> if (page != null) show(asking, page, panels) }
    }

    private fun show(asking: Asking, page: Page, panels: Panels) {
        val own = page.model.bundle.artifacts
        models.setSelection(asking.pages.indexOf(page))
        artifacts.adapter = Choices(context, own.map(context::nameOf), R.string.choice_artifact)
        artifacts.shown = own.size > 1
        artifacts.setSelection(own.indexOf(page.artifact))
        artifacts.onChosen { if (own[it] !== page.artifact) asking.choose(page, own[it]) }
        val fixed = listOf(page.name).filter { asking.pages.size == 1 } + own.map(context::nameOf).filter { own.size == 1 }
        subtitle.text = fixed.joinToString(" · ")
        subtitle.shown = fixed.isNotEmpty()
        ofPage.end()
        nothing.shown = page.model.refusal != null
        nothing.text = page.model.refusal
        panels.show(page, ofPage)
    }
}

private class Panels(private val question: QuestionPanel, private val talk: TalkPanel) {
    fun show(page: Page, watching: Watching) {
        val asked = page.model.refusal == null
        val writes = page.model.bundle.writes
        question.shown = asked && !writes
        talk.shown = asked && writes
        if (asked && writes) talk.show(page, watching)
        if (asked && !writes) question.show(page, watching)
    }
}

private fun Spinner.onChosen(choose: (Int) -> Unit) {
    onItemSelectedListener = object : AdapterView.OnItemSelectedListener {
        override fun onItemSelected(parent: AdapterView<*>, view: View?, position: Int, id: Long) = choose(position)

        override fun onNothingSelected(parent: AdapterView<*>) = Unit
    }
}
