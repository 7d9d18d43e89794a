package dev.slmexport.demo.ui

import dev.slmexport.demo.model.Bundle
import dev.slmexport.demo.model.Sample
import dev.slmexport.demo.model.objects
import dev.slmexport.demo.selftest.sentence
import dev.slmexport.demo.task.Second
import dev.slmexport.demo.task.Task
import dev.slmexport.demo.task.taskOf
import dev.slmexport.demo.task.writes
import org.json.JSONObject

class Example(val text: String, val second: String?)

/** A bundle and what the screens tell of it, which takes time to read: a worker does. */
class Model(val bundle: Bundle) {
    private val found: Result<Task?> = runCatching { if (bundle.writes) null else taskOf(bundle).also { it.second } }

    /** Null where the model writes, or cannot be asked. */
    val task: Task? = found.getOrNull()

    /** Why it cannot be asked, or null. */
    val refusal: String? = found.exceptionOrNull()?.let(::sentence)
    val second: Second? = task?.second
    val examples: List<Example> = runCatching { examples() }.getOrDefault(emptyList())
    val card: String? = bundle.text("MODEL_CARD.md")
    /** What each artifact was judged by when the bundle was made. */
    val thresholds: List<Map<String, Double>> = JSONObject(bundle.manifestFile.readText()).getJSONArray("artifacts").objects()
        .map { artifact -> artifact.optJSONObject("thresholds")?.let(::numbers).orEmpty() }

    private fun examples(): List<Example> {
        val samples = bundle.golden.samples.filter { it.text.isNotBlank() }
        return when {
            bundle.writes -> samples.map { Example(start(it), null) }
            second == Second.CANDIDATES -> samples.map { Example(it.text, others(samples, it)) }
            else -> samples.map { Example(it.text, it.pair) }
        }.distinctBy { it.text to it.second }.take(MOST_EXAMPLES)
    }

    private fun start(sample: Sample) = sample.text.split(" ").take(WORDS_OF_A_START).joinToString(" ")

    private fun others(samples: List<Sample>, sample: Sample) =
        samples.filter { it !== sample }.take(MOST_CANDIDATES).joinToString("\n") { it.text }
}

private fun numbers(json: JSONObject): Map<String, Double> = json.keys().asSequence().associateWith(json::getDouble)

private const val MOST_EXAMPLES = 8
private const val MOST_CANDIDATES = 5
private const val WORDS_OF_A_START = 8
