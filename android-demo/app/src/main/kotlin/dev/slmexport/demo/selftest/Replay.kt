package dev.slmexport.demo.selftest

import dev.slmexport.demo.model.Artifact
import dev.slmexport.demo.model.Bundle
import dev.slmexport.demo.model.Matrix
import dev.slmexport.demo.model.Sample
import dev.slmexport.demo.runtime.CausalSession
import dev.slmexport.demo.runtime.Session
import dev.slmexport.demo.runtime.Tokens
import dev.slmexport.demo.task.Task
import dev.slmexport.demo.task.taskOf
import dev.slmexport.demo.task.writes
import kotlin.math.exp
import kotlin.math.ln
import org.json.JSONArray
import org.json.JSONObject

/** How a kind of model is run on golden samples. */
internal interface Replay {
    fun encode(sample: Sample): IntArray

    fun open(artifact: Artifact): OpenReplay
}

internal interface OpenReplay : AutoCloseable {
    val runtime: String

    fun run(sample: Sample): Result
}

/** Rows as golden.json has them, and whether they answer as they should. */
internal class Result(private val rows: Matrix, val agrees: Boolean) {
    fun compared(recorded: Matrix): Pair<Matrix, Matrix> {
        check(recorded.rows == rows.rows && recorded.columns == rows.columns) {
            "The outputs are ${rows.rows} rows of ${rows.columns}, recorded are ${recorded.rows} of ${recorded.columns}."
        }
        return rows to recorded
    }
}

internal fun replayOf(bundle: Bundle): Replay = if (bundle.writes) CausalReplay(bundle) else EncoderReplay(bundle, taskOf(bundle))

private class EncoderReplay(private val bundle: Bundle, private val task: Task) : Replay {
    override fun encode(sample: Sample) = task.encode(sample).ids

    override fun open(artifact: Artifact) = object : OpenReplay {
        private val session = Session.open(bundle, artifact)
        override val runtime get() = session.runtime

        override fun run(sample: Sample): Result {
            val rows = task.rows(session.run(Tokens(sample.ids, sample.types)), sample)
            return Result(sample.columns?.let(rows::columns) ?: rows, same(task.answer(rows, sample), sample.answer))
        }

        override fun close() = session.close()
    }
}

/** Some positions of a text are compared: what lies before one is read at once, its own token alone. */
private class CausalReplay(private val bundle: Bundle) : Replay {
    override fun encode(sample: Sample): IntArray {
        val ids = bundle.tokenizer.encode(sample.text, specialTokens = sample.specialTokens).ids
        return ids.copyOf(minOf(ids.size, LONGEST))
    }

    override fun open(artifact: Artifact) = object : OpenReplay {
        private val session = CausalSession.open(bundle, artifact)
        override val runtime get() = session.runtime

        override fun run(sample: Sample): Result {
            val positions = checkNotNull(sample.positions) { "golden.json does not say which positions are compared." }
            session.restart()
            var read = 0
            val rows = sample.steps.mapIndexed { at, step ->
                val position = positions[at]
                if (position > read) session.read(sample.ids.copyOfRange(read, position))
                read = position + 1
                reduced(session.read(intArrayOf(sample.ids[position])), step.compared)
            }
            val best = rows.mapIndexed { at, row -> bestOf(row, sample.steps[at].compared) }
            return Result(Matrix.of(rows), same(best, sample.answer))
        }

        override fun close() = session.close()
    }
}

/** Logits of the compared tokens, the largest of all others, and the logarithm of the sum of the rest's exponentials. */
internal fun reduced(logits: FloatArray, compared: IntArray): FloatArray {
    val others = logits.copyOf()
    compared.forEach { others[it] = Float.NEGATIVE_INFINITY }
    val most = others.indices.maxBy { others[it] }
    val largest = others[most]
    others[most] = Float.NEGATIVE_INFINITY
    val rest = ln(others.sumOf { exp((it - largest).toDouble()) }) + largest
    return FloatArray(compared.size) { logits[compared[it]] } + floatArrayOf(largest, rest.toFloat())
}

private fun bestOf(row: FloatArray, compared: IntArray): Int =
    compared.getOrElse((0..compared.size).maxBy { row[it] }) { OTHER }

/** Whether an answer is the one that golden.json has. */
internal fun same(own: Any?, json: Any?): Boolean = when (json) {
    is JSONArray -> own is List<*> && own.size == json.length() && own.indices.all { same(own[it], json.get(it)) }
    is JSONObject -> own is Map<*, *> && own.size == json.length() && own.all { (key, value) -> same(value, json.opt(key as String)) }
    else -> own == json
}

private const val LONGEST = 512  // tokens of a golden text
private const val OTHER = -1
