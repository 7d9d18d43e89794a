package dev.slmexport.demo.model

import kotlin.math.abs
import kotlin.math.exp
import kotlin.math.sqrt

/** Rows of numbers, as models give them. */
class Matrix(val rows: Int, val columns: Int, val values: FloatArray) {
    init {
        require(values.size == rows * columns) { "${values.size} numbers are no $rows rows of $columns" }
    }

    operator fun get(row: Int): FloatArray = values.copyOfRange(row * columns, (row + 1) * columns)

    fun rows(picked: List<Int>): Matrix = of(picked.map(::get), columns)

    fun columns(picked: IntArray): Matrix =
        Matrix(rows, picked.size, FloatArray(rows * picked.size) { values[it / picked.size * columns + picked[it % picked.size]] })

    companion object {
        fun of(rows: List<FloatArray>, columns: Int = rows.firstOrNull()?.size ?: 0) =
            Matrix(rows.size, columns, FloatArray(rows.size * columns) { rows[it / columns][it % columns] })
    }
}

/** Index of the largest, the first of equals. */
fun FloatArray.best(): Int = indices.maxByOrNull { this[it] } ?: throw IllegalArgumentException("no numbers")

fun softmax(logits: FloatArray): FloatArray {
    val peak = logits.max()
    val powers = FloatArray(logits.size) { exp(logits[it] - peak) }
    val total = powers.sum()
    return FloatArray(logits.size) { powers[it] / total }
}

fun sigmoid(logit: Float): Float = 1 / (1 + exp(-logit))

/** 1 for two rows of zeros, 0 where one is, and -1 where a number is none. */
fun cosine(a: FloatArray, b: FloatArray): Double {
    val (aa, bb, ab) = Triple(dot(a, a), dot(b, b), dot(a, b))
    if (!(aa + bb).isFinite()) return -1.0
    return if (aa > 0 && bb > 0) ab / sqrt(aa) / sqrt(bb) else if (aa == bb) 1.0 else 0.0
}

private fun dot(a: FloatArray, b: FloatArray) = a.indices.sumOf { a[it].toDouble() * b[it] }

/** The largest difference of two numbers; infinite where one is no number. */
fun farthest(a: FloatArray, b: FloatArray): Double =
    a.indices.maxOfOrNull { i -> abs(a[i].toDouble() - b[i]).let { if (it.isNaN()) Double.POSITIVE_INFINITY else it } } ?: 0.0
