package dev.slmexport.demo.ui

import android.os.Bundle as Saved
import dev.slmexport.demo.model.Artifact
import dev.slmexport.demo.model.Turn
import dev.slmexport.demo.runtime.Session
import dev.slmexport.demo.selftest.sentence
import dev.slmexport.demo.task.Writer
import dev.slmexport.demo.task.Written
import dev.slmexport.demo.task.prompt
import java.util.concurrent.atomic.AtomicBoolean

/** What is asked, of which model. It outlives the screens, so that turning the device does not ask again. */
class Asking(models: List<Model>, private val worker: Worker, private val open: OpenArtifact) {
    val pages = models.map(::Page)
    val page = Watched(pages.firstOrNull())
    private var wanted = AtomicBoolean()

    fun choose(page: Page, artifact: Artifact = page.artifact) {
        leave()
        page.artifact = artifact
        page.outcome.value = Unasked
        worker.run(open::close)
        this.page.value = page
    }

    fun ask(page: Page) {
        val (artifact, text, second) = Triple(page.artifact, page.text, page.second)
        val wanted = begin()
        val show = { outcome: Outcome -> worker.show { if (wanted.get()) page.outcome.value = outcome } }
        page.outcome.value = Working(opening = true)
        worker.run { show(answer(page.model, artifact, text, second) { show(Working(opening = false)) }) }
    }

    private fun answer(model: Model, artifact: Artifact, text: String, second: String, onOpened: () -> Unit): Outcome = try {
        val held = open.session(model.bundle, artifact)
        val session = held.open as Session
        onOpened()
        val (reply, millis) = timed { model.task!!.ask(session, text, second.takeIf { model.second != null }) }
        Answered(reply, millis, held.millis, session.runtime)
    } catch (error: Throwable) {  // a native library that is not there is an Error
        Refused(sentence(error))
    }

    /** Says what was typed, and lets the model answer. */
    fun say(page: Page) {
        val (model, artifact) = page.model to page.artifact
        val before = page.talk.value.let { if (it.lastOrNull()?.refused == null) it else it.dropLast(2) }
        val said = before + Said(own = true, text = page.text)
        val turns = said.map { Turn(if (it.own) "user" else "assistant", it.text) }
        val own = begin()
        val change = { how: (Said) -> Said -> worker.show { if (own === wanted) page.change(how) } }
        page.text = ""
        page.talk.value = said + Said(own = false, text = "", writing = true)
        worker.run {
            try {
                val written = write(model, artifact, turns, own) { piece -> change { it.copy(text = it.text + piece) } }
                change { it.copy(writing = false, written = written) }
            } catch (error: Throwable) {
                change { it.copy(writing = false, refused = sentence(error)) }
            }
        }
    }

    private fun write(model: Model, artifact: Artifact, turns: List<Turn>, own: AtomicBoolean, onText: (String) -> Unit): Written {
        val writer = open.writer(model.bundle, artifact).open as Writer
        return writer.write(model.bundle.prompt(turns), artifact.rules!!.mostTokens) { piece ->
            if (own.get()) onText(piece) else writer.stop()
        }
    }

    /** The answer ends with the next token. */
    fun stop(page: Page) {
        wanted.set(false)
        page.change { it.copy(stopped = true) }
    }

    fun forget(page: Page) {
        leave()
        page.talk.value = emptyList()
    }

    /** No screen hears any more of what runs. */
    private fun leave() {
        begin()
        val page = page.value ?: return
        if (page.outcome.value is Working) page.outcome.value = Unasked
        if (page.writing) page.change { it.copy(writing = false, stopped = true) }
    }

    private fun begin(): AtomicBoolean {
        wanted.set(false)
        return AtomicBoolean(true).also { wanted = it }
    }

    fun save() = Saved().apply {
        putString(PAGE, page.value?.name)
        pages.forEach { putBundle(it.name, it.save()) }
    }

    fun restore(saved: Saved) {
        pages.forEach { page -> saved.getBundle(page.name)?.let(page::restore) }
        page.value = pages.find { it.name == saved.getString(PAGE) } ?: page.value
    }
}

private const val PAGE = " page"  // which no model is named
