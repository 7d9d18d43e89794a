package dev.slmexport.demo.selftest

import dev.slmexport.demo.model.Artifact
import dev.slmexport.demo.model.Bundle
import dev.slmexport.demo.model.Matrix
import dev.slmexport.demo.model.Sample
import dev.slmexport.demo.model.items
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

/** Rows as golden.json has them, but for the `first` ones that were left out; and whether they answer as they should. */
internal class Result(private val rows: Matrix, val agrees: Boolean, private val first: Int = 0) {
    fun compared(recorded: Matrix): Pair<Matrix, Matrix> {
        val kept = recorded.rows((first until recorded.rows).toList())
        check(kept.rows == rows.rows && kept.columns == rows.columns) {
            "The outputs are ${rows.rows} rows of ${rows.columns}, recorded are ${kept.rows} of ${kept.columns}."
        }
        return rows to kept
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

/** The last positions of a text are compared, one by one; those before them are read at once. */
private class CausalReplay(private val bundle: Bundle) : Replay {
    override fun encode(sample: Sample): IntArray {
        val ids = bundle.tokenizer.encode(sample.text, specialTokens = sample.specialTokens).ids
        return ids.copyOf(minOf(ids.size, LONGEST))
    }

    override fun open(artifact: Artifact) = object : OpenReplay {
        private val session = CausalSession.open(bundle, artifact)
        override val runtime get() = session.runtime

        override fun run(sample: Sample): Result {
            val first = maxOf(0, sample.ids.size - COMPARED_POSITIONS)
            val skipped = first - (sample.ids.size - sample.steps.size)
            val steps = sample.steps.drop(skipped)
            session.restart()
            if (first > 0) session.read(sample.ids.copyOf(first))
            val rows = steps.mapIndexed { at, step -> reduced(session.read(intArrayOf(sample.ids[first + at])), step.compared) }
            val best = rows.mapIndexed { at, row -> bestOf(row, steps[at].compared) }
            val expected = (sample.answer as JSONArray).items { getInt(it) }.drop(skipped)
            return Result(Matrix.of(rows), best == expected, skipped)
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
private const val COMPARED_POSITIONS = 16
private const val OTHER = -1
