package dev.slmexport.demo.ui

import android.os.Bundle as Saved
import dev.slmexport.demo.model.Artifact
import dev.slmexport.demo.task.Reply
import dev.slmexport.demo.task.Written

sealed interface Outcome

data object Unasked : Outcome

class Working(val opening: Boolean) : Outcome

/** `openMillis`: what opening it took, or null if it was open. */
class Answered(val reply: Reply, val millis: Double, val openMillis: Double?, val runtime: String) : Outcome

class Refused(val sentence: String) : Outcome

/** What somebody, or the model, said. */
data class Said(
    val own: Boolean,
    val text: String,
    val writing: Boolean = false,
    val written: Written? = null,
    val stopped: Boolean = false,
    val refused: String? = null,
)

/** One model on the Ask screen: what was chosen and typed, and what came of it. It belongs to the main thread. */
class Page(val model: Model) {
    var artifact: Artifact = model.bundle.artifacts.first()
    var text = ""
    var second = ""
    val outcome = Watched<Outcome>(Unasked)
    val talk = Watched<List<Said>>(emptyList())
    val name: String get() = model.bundle.name
    val writing: Boolean get() = talk.value.lastOrNull()?.writing == true
    private var shown = 0

    fun nextExample(): Example = model.examples[shown++ % model.examples.size]

    fun change(how: (Said) -> Said) {
        talk.value = talk.value.dropLast(1) + how(talk.value.last())
    }

    fun save() = Saved().apply {
        putString(ARTIFACT, artifact.path)
        putString(TEXT, text)
        putString(SECOND, second)
        putStringArray(TALK, talk.value.map { it.text }.toTypedArray())
        putBooleanArray(OWN, talk.value.map { it.own }.toBooleanArray())
    }

    fun restore(saved: Saved) {
        artifact = model.bundle.artifacts.find { it.path == saved.getString(ARTIFACT) } ?: artifact
        text = saved.getString(TEXT, "")
        second = saved.getString(SECOND, "")
        val own = saved.getBooleanArray(OWN) ?: BooleanArray(0)
        talk.value = saved.getStringArray(TALK).orEmpty().mapIndexed { at, text -> Said(own[at], text) }
    }
}

private const val ARTIFACT = "artifact"
private const val TEXT = "text"
private const val SECOND = "second"
private const val TALK = "talk"
private const val OWN = "own"
