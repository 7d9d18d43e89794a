package dev.slmexport.demo.ui

import android.view.View
import android.widget.LinearLayout
import dev.slmexport.demo.R

private val THRESHOLDS = mapOf(
    "cosine_mean" to R.string.threshold_cosine_mean,
    "cosine_min" to R.string.threshold_cosine_min,
    "max_abs_error" to R.string.threshold_max_abs_error,
    "value_error_mean" to R.string.threshold_value_error_mean,
    "flip_rate" to R.string.threshold_flip_rate,
    "accuracy_drop" to R.string.threshold_accuracy_drop,
    "neighbour_agreement" to R.string.threshold_neighbour_agreement,
    "kl_mean" to R.string.threshold_kl_mean,
    "perplexity_increase" to R.string.threshold_perplexity_increase,
    "sequence_match" to R.string.threshold_sequence_match,
)
private val LOWER_BOUNDS = setOf("cosine_mean", "cosine_min", "neighbour_agreement", "sequence_match")

/** Where the models come from and what was promised of them. */
class AboutScreen(root: View, library: Watched<Library>, watching: Watching) {
    private val context = root.context
    private val cards: LinearLayout = root.findViewById(R.id.cards)

    init {
        watching.of(library) { show((it as? Ready)?.asking?.pages.orEmpty().map(Page::model)) }
    }

    private fun show(models: List<Model>) {
        cards.removeAllViews()
        if (models.isEmpty()) cards.addCard().addLine(context.getString(R.string.no_bundle))
        models.forEach { model ->
            showPromise(model)
            showCard(model)
        }
    }

    private fun showPromise(model: Model) {
        val card = cards.addCard()
        card.addLine(model.bundle.name, R.style.Heading).asHeading()
        val licence = model.bundle.license
        card.addLine(licence?.let { context.getString(R.string.licence, it) } ?: context.getString(R.string.no_licence), gap = 8)
        card.addLine(context.getString(R.string.promised), R.style.Label, gap = 16).asHeading()
        model.bundle.artifacts.zip(model.thresholds).forEach { (artifact, thresholds) ->
            card.addLine(context.getString(R.string.proven_in, context.nameOf(artifact), artifact.provenIn), R.style.Strong, gap = 8)
            thresholds.filterKeys { it in THRESHOLDS }.forEach { (name, value) ->
                val bound = if (name in LOWER_BOUNDS) R.string.least else R.string.most
                card.addFact(context.getString(THRESHOLDS.getValue(name)), context.getString(bound, exact(value)))
            }
        }
    }

    private fun showCard(model: Model) {
        val card = cards.addCard()
        card.addLine(context.getString(R.string.model_card), R.style.Label).asHeading()
        if (model.card == null) card.addLine(context.getString(R.string.no_model_card), gap = 8)
        else blocks(model.card).forEach(card::add)
    }
}

private fun LinearLayout.addCard(): LinearLayout {
    val card = inflate(R.layout.card) as LinearLayout
    addView(card)
    return card
}

private fun LinearLayout.add(block: Block) {
    when (block) {
        is Heading -> addLine(block.text, R.style.Heading, gap = 16).asHeading()
        is Paragraph -> addLine(block.text, gap = 8)
        is Item -> addLine("•  ${block.text}", gap = 8)
        is Table -> block.rows.forEach { addRow(block.names, it) }
    }
}

/** A row as a name and its facts: phones are too narrow for tables. */
private fun LinearLayout.addRow(names: List<String>, row: List<String>) {
    addLine(row.first(), R.style.Strong, gap = 16)
    names.zip(row).drop(1).filter { (_, value) -> value.isNotEmpty() }.forEach { (name, value) -> addFact(name, value) }
}
