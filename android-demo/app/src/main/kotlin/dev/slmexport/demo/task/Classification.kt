package dev.slmexport.demo.task

import dev.slmexport.demo.model.Bundle
import dev.slmexport.demo.model.Matrix
import dev.slmexport.demo.model.Sample
import dev.slmexport.demo.model.best
import dev.slmexport.demo.model.sigmoid
import dev.slmexport.demo.model.softmax
import dev.slmexport.demo.runtime.Session

/** Tasks whose output is one row of logits for a text, or for a pair of texts. */
abstract class WholeText(protected val bundle: Bundle, private val output: String = "logits") : Task {
    override val second by lazy { Second.PAIR.takeIf { bundle.golden.samples.any { it.pair != null } } }

    override fun rows(outputs: Map<String, Matrix>, sample: Sample) = outputs.getValue(output)

    override fun encode(sample: Sample) = bundle.tokenizer.encode(sample.text, sample.pair)

    protected fun row(session: Session, text: String, second: String? = null): FloatArray =
        session.run(bundle.tokenizer.encode(text, second).tokens()).getValue(output)[0]
}

class Classification(bundle: Bundle) : WholeText(bundle) {
    override fun answer(rows: Matrix, sample: Sample) = bundle.labels[rows[0].best()]

    override fun ask(session: Session, text: String, second: String?): Reply {
        val probabilities = softmax(row(session, text, second))
        val best = probabilities.best()
        val scores = probabilities.mapIndexed { at, value -> Score(bundle.labels[at], value, at == best) }
        return Scores(scores.sortedByDescending { it.value })
    }
}

class LabelSet(bundle: Bundle) : WholeText(bundle) {
    override fun answer(rows: Matrix, sample: Sample) = bundle.labels.filterIndexed { at, _ -> rows[0][at] > 0 }

    override fun ask(session: Session, text: String, second: String?): Reply {
        val scores = row(session, text, second).mapIndexed { at, it -> Score(bundle.labels[at], sigmoid(it), it > 0) }
        return Scores(scores.sortedByDescending { it.value })
    }
}

class Regression(bundle: Bundle) : WholeText(bundle) {
    override fun answer(rows: Matrix, sample: Sample) = null

    override fun ask(session: Session, text: String, second: String?) = Quantity(row(session, text, second)[0])
}
