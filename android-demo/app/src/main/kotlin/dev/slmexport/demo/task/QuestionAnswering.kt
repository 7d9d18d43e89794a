package dev.slmexport.demo.task

import dev.slmexport.demo.model.Bundle
import dev.slmexport.demo.model.Matrix
import dev.slmexport.demo.model.Sample
import dev.slmexport.demo.runtime.Session

/** The span of a context that answers a question. */
class QuestionAnswering(private val bundle: Bundle) : Task {
    override val second get() = Second.CONTEXT
    private val longest = bundle.settings.getInt("longest_answer_tokens")

    override fun rows(outputs: Map<String, Matrix>, sample: Sample) = scores(outputs, sample.ids.size)

    /** Characters are counted as Python counts them, by code points. */
    override fun answer(rows: Matrix, sample: Sample): Any? {
        val spans = sample.spans!!
        val (first, last) = best(rows, spans.indices.filter { spans[it][0] >= 0 }) ?: return null
        val (start, end) = spans[first][0] to spans[last][1]
        val context = sample.pair!!
        val text = context.substring(context.offsetByCodePoints(0, start), context.offsetByCodePoints(0, end))
        return mapOf("text" to text, "start" to start, "end" to end)
    }

    override fun encode(sample: Sample) = bundle.tokenizer.encode(sample.text, sample.pair)

    override fun ask(session: Session, text: String, second: String?): Reply {
        require(!second.isNullOrBlank()) { "Write the text that the answer is to be found in." }
        val encoding = bundle.tokenizer.encode(text, second)
        val inside = encoding.ids.indices.filter { encoding.texts[it] == 1 }
        val found = best(scores(session.run(encoding.tokens()), encoding.ids.size), inside) ?: return Passage(second, null)
        return Passage(second, encoding.spans[found.first]!!.first..encoding.spans[found.second]!!.last)
    }

    private fun scores(outputs: Map<String, Matrix>, length: Int) =
        Matrix.of(listOf("start_logits", "end_logits").map { outputs.getValue(it)[0].copyOf(length) })

    /** First and last token of the likeliest span within these tokens. */
    private fun best(rows: Matrix, inside: List<Int>): Pair<Int, Int>? {
        val (start, end) = rows[0] to rows[1]
        var found: Pair<Int, Int>? = null
        for (first in inside) {
            for (last in inside) {
                if (last - first !in 0 until longest) continue
                if (found == null || start[first] + end[last] > start[found.first] + end[found.second]) found = first to last
            }
        }
        return found
    }
}
