package dev.slmexport.demo.task

import dev.slmexport.demo.model.Bundle
import dev.slmexport.demo.model.Matrix
import dev.slmexport.demo.model.Sample
import dev.slmexport.demo.model.cosine
import dev.slmexport.demo.runtime.Session

/** Which of some texts, one to a line, is nearest to a text. */
class Embedding(bundle: Bundle) : WholeText(bundle, output = "sentence_embedding") {
    override val second get() = Second.CANDIDATES

    override fun answer(rows: Matrix, sample: Sample) = null

    override fun ask(session: Session, text: String, second: String?): Reply {
        val own = row(session, text)
        val lines = second.orEmpty().lines().filter { it.isNotBlank() }
        require(lines.isNotEmpty()) { "Write texts to compare with, one to a line." }
        val scores = lines.map { Score(it, cosine(own, row(session, it)).toFloat()) }.sortedByDescending { it.value }
        return Neighbours(scores.mapIndexed { at, it -> Score(it.label, it.value, at == 0) })
    }
}

/** A vector for each token: nothing to ask for people, but the self-test compares them. */
class TokenVectors(private val bundle: Bundle) : Task {
    override val second get() = null

    override fun rows(outputs: Map<String, Matrix>, sample: Sample) = outputs.values.single().rows(sample.ids.indices.toList())

    override fun answer(rows: Matrix, sample: Sample) = null

    override fun encode(sample: Sample) = bundle.tokenizer.encode(sample.text, sample.pair)

    override fun ask(session: Session, text: String, second: String?): Reply =
        throw UnsupportedOperationException("This model gives a vector for each token, which is nothing to read.")
}
