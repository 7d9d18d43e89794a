package dev.slmexport.demo.task

import dev.slmexport.demo.model.Bundle
import dev.slmexport.demo.model.Matrix
import dev.slmexport.demo.model.Sample
import dev.slmexport.demo.model.best
import dev.slmexport.demo.model.softmax
import dev.slmexport.demo.runtime.Session

private const val SHOWN = 5

/** What stands behind the masks of a text. */
class MaskFilling(private val bundle: Bundle) : Task {
    override val second get() = null
    private val mask: String = bundle.settings.getString("mask_token")

    override fun rows(outputs: Map<String, Matrix>, sample: Sample) =
        outputs.getValue("logits").rows(sample.positions!!.toList())

    override fun answer(rows: Matrix, sample: Sample) = List(rows.rows) { rows[it].best() }

    override fun encode(sample: Sample) = bundle.tokenizer.encode(sample.text, sample.pair)

    override fun ask(session: Session, text: String, second: String?): Reply {
        val id = bundle.tokenizer.idOf(mask)
        val encoding = bundle.tokenizer.encode(text)
        val masks = encoding.ids.indices.filter { encoding.ids[it] == id }
        require(masks.isNotEmpty()) { "Write $mask where a word is to be found." }
        val rows = session.run(encoding.tokens()).getValue("logits").rows(masks)
        return Fills(List(rows.rows) { best(softmax(rows[it])) })
    }

    private fun best(probabilities: FloatArray): List<Score> =
        probabilities.indices.sortedByDescending { probabilities[it] }.take(SHOWN)
            .mapIndexed { rank, at -> Score(bundle.tokenizer.decode(listOf(at)).trim(), probabilities[at], rank == 0) }
}
